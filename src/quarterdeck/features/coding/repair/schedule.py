"""Which candidate is tried next: a best-first merge of lazy generators, kept broad."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from quarterdeck.features.coding.repair.edit import Edit

GAMMA = 0.7
REMOVAL_SHARE = 0.4
_QUOTA = 12
"""After so many edits of one family at one place its weight begins to fall."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One family at one place: `score` of the place, the best prior it can yield, its edits."""

    score: float
    prior_max: float
    edits: Callable[[], Iterator[Edit]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An edit with the weight it was drawn at and its number in the order of drawing (from 0)."""

    edit: Edit
    weight: float
    number: int


def weight(edit: Edit, score: float, drawn: int) -> float:
    """How soon an edit is tried: `prior * score^GAMMA`, less once its lane has had its quota."""
    removal = REMOVAL_SHARE if edit.removal else 1.0
    return edit.prior * removal * score**GAMMA * _decay(drawn)


def _decay(drawn: int) -> float:
    return 1.0 if drawn < _QUOTA else (_QUOTA / (drawn + 1)) ** 0.5


def merge(lanes: Iterable[Lane], seed: int) -> Iterator[Candidate]:
    """Draw edits from all lanes, heaviest first, each distinct result once.

    Lanes are opened only when their best possible edit is next, so that huge files cost nothing
    up front. Ties are broken by a random number from `seed`: the same seed gives the same order.
    """
    rng = random.Random(seed)  # noqa: S311 - an order, not a secret
    seen: set[tuple[str, int, int, str]] = set()
    heap: list[_Entry] = []
    for lane in lanes:
        bound = lane.prior_max * lane.score**GAMMA
        heapq.heappush(heap, _Entry(-bound, rng.random(), lane))
    number = 0
    while heap:
        entry = heapq.heappop(heap)
        if entry.edit is not None:
            edit = entry.edit
            key = (edit.path, edit.start, edit.end, edit.text)
            if key not in seen:
                seen.add(key)
                yield Candidate(edit, -entry.key, number)
                number += 1
        if (following := entry.next(rng.random())) is not None:
            heapq.heappush(heap, following)


class _Entry:
    """A lane in the heap with the edit that is next, or None while it is not open."""

    __slots__ = ("drawn", "edit", "edits", "key", "lane", "tie")

    def __init__(self, key: float, tie: float, lane: Lane) -> None:
        self.key = key
        self.tie = tie
        self.lane = lane
        self.edits: Iterator[Edit] | None = None
        self.edit: Edit | None = None
        self.drawn = 0

    def __lt__(self, other: _Entry) -> bool:
        return (self.key, self.tie) < (other.key, other.tie)

    def next(self, tie: float) -> _Entry | None:
        """This lane with its next edit; None when it has no more."""
        if self.edits is None:
            self.edits = self.lane.edits()
        edit = next(self.edits, None)
        if edit is None:
            return None
        self.edit = edit
        self.key = -weight(edit, self.lane.score, self.drawn)
        self.tie = tie
        self.drawn += 1
        return self
