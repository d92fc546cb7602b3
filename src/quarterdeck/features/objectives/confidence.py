"""How much the evidence of a tool is worth: computed from what it found, never stated by it.

It is a score of the evidence, not a probability: nothing has calibrated it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from quarterdeck.core.events import Json
from quarterdeck.features.objectives.claims import agreement, stated
from quarterdeck.features.objectives.passages import Passage, coverage
from quarterdeck.features.objectives.terms import words

_FINGERPRINT_WORDS = 400


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a confidence stands on.

    `looked` says whether anything could be read at all, `sources` counts publishers that do not
    repeat each other, `term_coverage` (0..1) is that of the best passage, `agreement` (0..1) is
    None when the sources state nothing that compares. `in_scope` and `outside` count the results
    the tool was given from inside and outside of the allowed domains.
    """

    looked: bool
    sources: int
    term_coverage: float
    agreement: float | None
    agreement_by_kind: dict[str, float]
    in_scope: int
    outside: int

    def as_json(self) -> dict[str, Json]:
        return asdict(self)


def evidence(
    found: Sequence[Passage], terms: Sequence[str], *, looked: bool, in_scope: int, outside: int
) -> Evidence:
    """The evidence in the passages that a tool found.

    Only what was read at the source counts; a search engine's own words are no evidence.
    """
    found = [passage for passage in found if passage.origin == "page"]
    by_source = independent(found)
    value, by_kind = agreement([stated(texts, terms) for texts in by_source.values()])
    return Evidence(
        looked=looked,
        sources=len(by_source),
        term_coverage=round(max((coverage(p, terms) for p in found), default=0.0), 3),
        agreement=value,
        agreement_by_kind=by_kind,
        in_scope=in_scope,
        outside=outside,
    )


def independent(found: Sequence[Passage]) -> dict[str, list[str]]:
    """Publisher → its texts; who only repeats another's words does not count again."""
    by_source: dict[str, list[str]] = {}
    seen: set[tuple[str, ...]] = set()
    owner: dict[tuple[str, ...], str] = {}
    for passage in found:
        print_ = tuple(words(passage.text)[:_FINGERPRINT_WORDS])
        if owner.setdefault(print_, passage.source) != passage.source:
            continue
        if print_ not in seen:
            seen.add(print_)
            by_source.setdefault(passage.source, []).append(passage.text)
    return by_source


def confidence(given: Evidence) -> float | None:
    """The confidence in 0..1, or None when nothing could be looked at.

    It is coverage x (1 - 2^-sources) x (1 + agreement) / 2 x in_scope / (in_scope + outside).
    Nothing found gives 0; flat conflict never gives more than a single source would; without
    values to compare the agreement has no part in it.
    """
    if not given.looked:
        return None
    results = given.in_scope + given.outside
    if not given.sources or not results:
        return 0.0
    support = 1.0 - 2.0**-given.sources
    agreed = 1.0 if given.agreement is None else (1.0 + given.agreement) / 2.0
    return round(given.term_coverage * support * agreed * given.in_scope / results, 3)
