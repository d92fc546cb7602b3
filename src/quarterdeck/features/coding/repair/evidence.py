"""How far the tests pin a patch: line mutants, behaviour clusters, strong or weak, one question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from quarterdeck.core.events import Json

MUTANTS_MAX = 18
_KILLED_MIN = 3
_RATIO_MIN = 0.8
_NOTICED_MIN = 0.75
_RATIO_MIN_RISKY = 0.9
_FLIPPED_MIN_RISKY = 2
_DIRECT_FAMILIES = frozenset(
    {"comparison", "arithmetic", "booleans", "constants", "attributes", "swaps", "synonyms"}
    | {"loops", "imports", "blocks"}
)
"""Families that put one thing in the place of its neighbour; the others add or take away."""


class Strength(StrEnum):
    """Strong: the tests leave no other behaviour open that we know of. Weak: they do."""

    STRONG = "strong"
    WEAK = "weak"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What versions do on the same inputs.

    `inputs` are (function, arguments as text); the first `recorded` ones come from the tests, the
    rest are variations. `outputs[v][i]` is what version `v` gives for input `i`; version 0 is the
    unpatched code. A version that broke off has fewer outputs; one that cannot be watched has None.
    """

    def shows(self, version: int) -> bool:
        """Whether the version could be watched."""
        return version < len(self.outputs) and self.outputs[version] is not None

    inputs: tuple[tuple[str, str], ...] = ()
    recorded: int = 0
    outputs: tuple[tuple[str, ...] | None, ...] = ()

    def differs(self, one: int, other: int) -> list[int]:
        """The inputs on which two versions differ and at least one gives a value."""
        mine, theirs = self.outputs[one], self.outputs[other]
        if mine is None or theirs is None:
            return []
        pairs = zip(mine, theirs, strict=False)
        found = [
            index
            for index, (a, b) in enumerate(pairs)
            if a != b and not (a.startswith("raises") and b.startswith("raises"))
        ]
        if len(mine) != len(theirs):
            found.append(min(len(mine), len(theirs)))
        return [index for index in found if index < len(self.inputs)]


def clusters(behaviour: Behaviour, versions: Sequence[int]) -> list[list[int]]:
    """The versions grouped by equal behaviour, in order of first appearance."""
    groups: list[list[int]] = []
    for version in versions:
        for group in groups:
            if not behaviour.differs(group[0], version):
                group.append(version)
                break
        else:
            groups.append([version])
    return groups


class Comparison:
    """The chosen patch (version 1) against its rivals (from 2) and the line variations after them.

    `open` are the variations that behave differently, or cannot be watched.
    """

    def __init__(self, behaviour: Behaviour, *, rivals: int, survivors: int) -> None:
        self._behaviour = behaviour
        first = 2 + rivals
        watched = bool(behaviour.inputs) and behaviour.shows(1)
        self.observed = watched or not rivals + survivors
        self._differing = [v for v in range(2, first) if watched and behaviour.differs(1, v)]
        self._unseen = [v for v in range(2, first) if not (watched and behaviour.shows(v))]
        self.open = [
            v
            for v in range(first, first + survivors)
            if not (watched and behaviour.shows(v)) or behaviour.differs(1, v)
        ]

    def differs(self, rival: int) -> bool | None:
        """Whether rival number `rival` (from 0) behaves differently; None when unknown."""
        return None if rival + 2 in self._unseen else rival + 2 in self._differing

    @property
    def rival_clusters(self) -> int:
        """How many other behaviours there are; each rival that cannot be watched counts as one."""
        others = clusters(self._behaviour, self._differing) if self._differing else []
        return len(others) + len(self._unseen)

    def question(self, diffs: Sequence[str]) -> Json:
        """One question that decides between the chosen patch and its best different rival."""
        for rival in self._differing:
            asked = question(self._behaviour, 1, rival, {1: diffs[0], rival: diffs[rival - 1]})
            if asked is not None:
                return asked
        return None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about the chosen patch.

    `killed` line mutants failed a test; `open` ones passed all and behave differently; `alike`
    ones passed and could not be told apart. `observed` says whether behaviour could be compared,
    `constant_passes` whether the patched condition could as well be a constant, `rivals_sought`
    whether there was time enough to look for rivals, `accidental` whether a test waits for an
    exception that the patched statement does not raise itself.
    """

    family: str
    removal: bool
    flipped: int
    covering: int
    killed: int
    open: int
    alike: int
    observed: bool
    rival_clusters: int
    confirmed: bool
    constant_passes: bool = False
    rivals_sought: bool = True
    accidental: bool = False


def classify(facts: Facts) -> tuple[Strength, list[str]]:
    """Strong or weak, with the reasons that speak against strong."""
    reasons = list(_doubts(facts))
    return (Strength.WEAK if reasons else Strength.STRONG), reasons


def _doubts(facts: Facts) -> Iterator[str]:
    yield from _doubts_of_the_search(facts)
    yield from _doubts_of_the_line(facts)


def _doubts_of_the_search(facts: Facts) -> Iterator[str]:
    if not facts.confirmed:
        yield "The patch was not confirmed by a run in a fresh process."
    if not facts.rivals_sought:
        yield "The time was used up before rivals were looked for long enough."
    if facts.rival_clusters:
        yield f"{facts.rival_clusters} other patches pass and are not known to behave the same."
    if not facts.observed:
        yield "The patched code could not be watched on other inputs."


def _doubts_of_the_line(facts: Facts) -> Iterator[str]:
    risky = facts.removal or facts.family not in _DIRECT_FAMILIES
    told_apart = facts.killed + facts.open
    ratio = facts.killed / told_apart if told_apart else 0.0
    if facts.killed < _KILLED_MIN:
        yield f"Only {facts.killed} variations of the patched line fail a test."
    if ratio < (_RATIO_MIN_RISKY if risky else _RATIO_MIN):
        yield f"{facts.open} of {told_apart} variations of the patched line pass all tests too."
    if facts.killed < _NOTICED_MIN * (told_apart + facts.alike):
        yield f"{facts.open + facts.alike} variations of the patched line go unnoticed by the tests."
    if facts.constant_passes:
        yield "With a constant in place of the patched condition all tests pass too."
    if facts.accidental:
        yield "A test waits for an exception, and the patched statement may raise it by accident."
    if facts.flipped < _FLIPPED_MIN_RISKY and risky:
        yield "An edit of this kind is easily a workaround, and a single test asks for it."
    if facts.flipped < _FLIPPED_MIN_RISKY and not facts.covering:
        yield "No passing test runs the patched line."


def question(behaviour: Behaviour, chosen: int, rival: int, texts: Mapping[int, str]) -> Json:
    """One input on which the chosen patch and its best rival differ; None when there is none.

    Inputs from the tests are preferred to variations, values to exceptions, short to long.
    """
    mine, theirs = behaviour.outputs[chosen] or (), behaviour.outputs[rival] or ()
    known = min(len(mine), len(theirs))
    usable = [index for index in behaviour.differs(chosen, rival) if index < known]
    if not usable:
        return None

    def awkwardness(index: int) -> tuple[bool, bool, bool, int]:
        raised = mine[index].startswith("raises") or theirs[index].startswith("raises")
        unreadable = "object at 0x" in behaviour.inputs[index][1]
        return unreadable, raised, index >= behaviour.recorded, len(behaviour.inputs[index][1])

    best = min(usable, key=awkwardness)
    call = f"{behaviour.inputs[best][0]}({behaviour.inputs[best][1]})"
    one, other = mine[best][:300], theirs[best][:300]
    before = behaviour.outputs[0] or ()
    return {
        "call": call,
        "text": f"What should {call} do: {_told(one)} or {_told(other)}?",
        "answers": [
            {"patch": texts[chosen], "gives": one},
            {"patch": texts[rival], "gives": other},
        ],
        "before": before[best][:300] if best < len(before) else None,
        "from_tests": best < behaviour.recorded,
    }


def _told(outcome: str) -> str:
    return outcome.replace("raises", "raise", 1) if outcome.startswith("raises") else (
        f"give {outcome}"
    )  # fmt: skip
