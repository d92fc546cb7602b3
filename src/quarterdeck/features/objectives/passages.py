"""Passages of pages, ranked for the words of an objective by BM25 (Robertson & Zaragoza 2009)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from quarterdeck.core.events import Json
from quarterdeck.features.objectives.terms import words

K1 = 1.2
B = 0.75
PASSAGE_WORDS = 80
PASSAGE_CHARS_MAX = 1200
PASSAGES_PER_PAGE_MAX = 400
PER_PAGE_BEST = 2


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a page. `source` is the publisher: the allowed domain that admits its URL.

    `score` is BM25's own (higher is better, no probability); `origin` is `page`, or `snippet` when
    a search engine's word for it is all there is.
    """

    url: str
    title: str
    text: str
    source: str
    origin: str = "page"
    score: float = 0.0

    def as_json(self) -> dict[str, Json]:
        return asdict(self)


def passages(
    blocks: Iterable[str], *, url: str, title: str, source: str, origin: str = "page"
) -> list[Passage]:
    """Blocks of text as passages of about eighty words; long blocks are cut, short ones joined."""
    found: list[Passage] = []
    pending: list[str] = []
    for block in blocks:
        for piece in block.split(" "):
            pending.append(piece[:PASSAGE_CHARS_MAX])
            ends = piece.endswith((".", "!", "?"))
            if len(pending) >= (PASSAGE_WORDS if ends else 2 * PASSAGE_WORDS):
                found.append(_passage(pending, url, title, source, origin))
        if pending:
            pending.append("\n")
        if len(pending) >= PASSAGE_WORDS:
            found.append(_passage(pending, url, title, source, origin))
        if len(found) >= PASSAGES_PER_PAGE_MAX:
            return found
    if pending:
        found.append(_passage(pending, url, title, source, origin))
    return found


def ranked(found: Sequence[Passage], terms: Sequence[str], *, limit: int) -> list[Passage]:
    """The best passages that hold at least one of the terms, at most two of one page."""
    bags = [Counter(words(f"{passage.title} {passage.text}")) for passage in found]
    lengths = [bag.total() for bag in bags]
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    weights = {term: _rarity(sum(term in bag for bag in bags), len(bags)) for term in terms}
    scored = [
        (_bm25(bag, length / mean, weights), n)
        for n, (bag, length) in enumerate(zip(bags, lengths, strict=True))
        if any(term in bag for term in terms)
    ]
    best: list[Passage] = []
    of_page: Counter[str] = Counter()
    for score, n in sorted(scored, key=lambda one: (-one[0], one[1])):
        passage = found[n]
        if of_page[passage.url] < PER_PAGE_BEST and len(best) < limit:
            of_page[passage.url] += 1
            best.append(_scored(passage, score))
    return best


def coverage(passage: Passage, terms: Sequence[str]) -> float:
    """The share of the terms that a passage or its title holds, 0..1."""
    held = set(words(f"{passage.title} {passage.text}"))
    return sum(term in held for term in terms) / len(terms) if terms else 0.0


def _rarity(holding: int, total: int) -> float:
    return math.log(1.0 + (total - holding + 0.5) / (holding + 0.5))


def _bm25(bag: Counter[str], relative_length: float, weights: dict[str, float]) -> float:
    norm = K1 * (1.0 - B + B * relative_length)
    return sum(
        weight * bag[term] * (K1 + 1.0) / (bag[term] + norm) for term, weight in weights.items()
    )


def _scored(passage: Passage, score: float) -> Passage:
    return Passage(
        passage.url, passage.title, passage.text, passage.source, passage.origin, round(score, 4)
    )


def _passage(pending: list[str], url: str, title: str, source: str, origin: str) -> Passage:
    text = " ".join(pending).replace(" \n ", "\n").strip()[:PASSAGE_CHARS_MAX]
    pending.clear()
    return Passage(url, title, text, source, origin)
