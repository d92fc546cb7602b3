"""The pages a crawl has yet to read: breadth first, the sites by turns, each page once."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from quarterdeck.features.objectives.scope import Scope, Target

DEPTH_MAX = 3
PAGES_KNOWN_MAX = 5000


@dataclass(frozen=True, slots=True)
class Planned:
    """A page to read, and how many links it is away from a site's front page."""

    target: Target
    depth: int


class Frontier:
    """Takes targets inside the scope and gives them back, nearest first."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._heap: list[tuple[int, int, int, Target]] = []
        self._known: set[str] = set()
        self._turns: Counter[tuple[int, str]] = Counter()

    def add(self, targets: Iterable[Target], depth: int) -> int:
        """Plan new pages; returns how many were out of scope (links there are no fault)."""
        outside = 0
        for target in targets:
            domain = self._scope.domain_of(target)
            if domain is None:
                outside += 1
            elif self._is_new(target) and depth <= DEPTH_MAX:
                place = (depth, str(domain))
                entry = (depth, self._turns[place], len(self._known), target)
                self._turns[place] += 1
                heapq.heappush(self._heap, entry)
        return outside

    def take(self, count: int) -> list[Planned]:
        """The next pages, at most so many."""
        taken = [heapq.heappop(self._heap) for _ in range(min(count, len(self._heap)))]
        return [Planned(target, depth) for depth, _turn, _nth, target in taken]

    def see(self, target: Target) -> bool:
        """Note a page that a redirect led to; False when it is known already."""
        return self._is_new(target)

    def _is_new(self, target: Target) -> bool:
        if target.url in self._known or len(self._known) >= PAGES_KNOWN_MAX:
            return False
        self._known.add(target.url)
        return True
