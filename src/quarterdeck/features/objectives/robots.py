"""What a site asks of robots (RFC 9309): which paths not to fetch, and where its sitemaps are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

AGENT = "quarterdeck"
TEXT_CHARS_MAX = 512 * 1024
RULES_MAX = 1000
SITEMAPS_MAX = 10


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules of one origin for us: (allow, pattern) pairs, and its sitemaps' URLs."""

    rules: tuple[tuple[bool, str], ...] = ()
    sitemaps: tuple[str, ...] = ()

    def permits(self, path: str) -> bool:
        """Whether a path with its query may be fetched: the longest matching pattern decides."""
        matching = [(len(p), allow) for allow, p in self.rules if matches(p, path)]
        return max(matching)[1] if matching else True


PERMIT_ALL = Robots()
FORBID_ALL = Robots(((False, "/"),))
"""What holds while a site's robots.txt cannot be reached (RFC 9309 §2.3.1.4)."""


def parse_robots(text: str) -> Robots:
    """The rules for our name, else those for everybody; lines that say nothing are passed over."""
    groups: dict[str, list[tuple[bool, str]]] = {}
    sitemaps: list[str] = []
    agents: set[str] = set()
    in_rules = False
    for field, value in _lines(text[:TEXT_CHARS_MAX]):
        if field == "sitemap":
            sitemaps.append(value)
        elif field == "user-agent":
            agents = set() if in_rules else agents
            in_rules = False
            agents |= {value.lower()} & {AGENT, "*"}
            for agent in agents:
                groups.setdefault(agent, [])
        elif field in {"allow", "disallow"}:
            in_rules = True
            for agent in agents if value else ():
                groups[agent].append((field == "allow", value))
    chosen = groups[AGENT] if AGENT in groups else groups.get("*", [])
    return Robots(tuple(chosen[:RULES_MAX]), tuple(sitemaps[:SITEMAPS_MAX]))


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern with `*` and a last `$` matches the beginning of a path (RFC 9309 §2.2.3)."""
    anchored = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1] if anchored else rest:
        found = path.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    if not anchored:
        return True
    if not rest:
        return at == len(path)
    return len(path) - at >= len(rest[-1]) and path.endswith(rest[-1])


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.removeprefix("\ufeff").splitlines():
        field, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield field.strip().lower(), value.strip()
