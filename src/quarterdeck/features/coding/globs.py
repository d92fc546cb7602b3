"""Globs over repository paths: `*` and `?` stay within a name, `**` crosses directories."""

from __future__ import annotations

import re
from functools import lru_cache


def matches(path: str, pattern: str) -> bool:
    """Whether `path` (with `/`, relative) fits `pattern`; `dir/` stands for all below it."""
    return _compiled(pattern).fullmatch(path) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    pattern = pattern.removeprefix("./")
    if pattern.endswith("/"):
        pattern += "**"
    parts: list[str] = []
    for piece in re.findall(r"\*\*/|\*+|\?|[^*?]+", pattern):
        if piece == "**/":
            parts.append("(?:[^/]+/)*")
        elif piece.startswith("**"):
            parts.append(".*")
        elif piece == "*":
            parts.append("[^/]*")
        elif piece == "?":
            parts.append("[^/]")
        else:
            parts.append(re.escape(piece))
    return re.compile("".join(parts), re.DOTALL)
