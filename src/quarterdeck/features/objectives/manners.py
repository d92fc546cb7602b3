"""Reads pages the way that sites ask robots to (RFC 9309), for every tool alike."""

from __future__ import annotations

from collections.abc import Collection

from quarterdeck.features.objectives.fetch import (
    PAGE_TYPES,
    ROBOTS_TYPES,
    Fetcher,
    Page,
)
from quarterdeck.features.objectives.miss import Miss
from quarterdeck.features.objectives.robots import FORBID_ALL, PERMIT_ALL, Robots, parse_robots
from quarterdeck.features.objectives.scope import Target

_SERVER_ERRORS = range(500, 600)
_NO_RULES = frozenset({"fetch.size", "fetch.type", "fetch.encoding", "fetch.redirects"})
"""Misses of a robots.txt that say as much as its absence (RFC 9309 §2.3.1.3)."""


class Manners:
    """A fetcher that asks each origin for its robots.txt first, once."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._known: dict[str, Robots] = {}

    async def read(self, target: Target, types: Collection[str] = PAGE_TYPES) -> Page | Miss:
        """The page at a target, or why it is not read."""
        rules = await self.rules_of(target)
        if isinstance(rules, Miss):
            return rules
        if not rules.permits(target.path):
            return Miss(target.url, "robots", "The site asks robots not to read it.")
        return await self._fetcher.get(target, types)

    async def rules_of(self, target: Target) -> Robots | Miss:
        """The rules of the target's origin; a miss when the origin does not answer at all.

        A server that is in trouble (5xx) has forbidden everything, one without the file nothing.
        """
        known = self._known.get(target.origin)
        if known is not None:
            return known
        asked = Target(target.scheme, target.host, target.port, "/robots.txt")
        page = await self._fetcher.get(asked, ROBOTS_TYPES)
        if isinstance(page, Page):
            found = parse_robots(page.text)
        elif page.status is None and page.rule not in _NO_RULES:
            return page
        else:
            found = FORBID_ALL if page.status in _SERVER_ERRORS else PERMIT_ALL
        self._known[target.origin] = found
        return found
