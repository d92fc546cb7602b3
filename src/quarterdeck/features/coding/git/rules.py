"""What a tree may hold to be kept and promoted: names, symbolic links, sizes. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from quarterdeck.core.errors import Refused

SYMLINK_MAX_BYTES = 4096
PATH_MAX_BYTES = 4096
SHOWN_MAX = 10

# HFS+ ignores these in names, so that ".g\u200cit" is ".git" there (as in git's own check).
_IGNORABLE = {
    *range(0x200C, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x206A, 0x2070),
    0xFEFF,
}


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """How much one snapshot may hold: bytes of one file, number of files, depth of directories."""

    file_bytes: int = 50 * 1024 * 1024
    files: int = 100_000
    depth: int = 200


class TreeRefused(Refused):
    """The sandbox holds something that a repository must not take; `files` names it."""

    def __init__(self, why: str, files: Iterable[str], *, hint: str) -> None:
        self.files = tuple(shown(file) for file in files)
        names = ", ".join(self.files[:SHOWN_MAX])
        more = f" and {len(self.files) - SHOWN_MAX} more" if len(self.files) > SHOWN_MAX else ""
        super().__init__(f"{why}: {names}{more}.", where="sandbox", hint=hint)


def shown(path: str) -> str:
    """The path as text that any encoder takes: bytes that are not UTF-8 appear as `\\xNN`."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def symlink_leaves(path: str, target: str) -> bool:
    """Whether the symbolic link `path` (relative to the tree) could lead out of its tree.

    Leading `..` may climb to the tree's root at most; `..` after a name is refused, because what
    it leads to depends on whether that name is itself a link.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if target.startswith("/") or "\x00" in target or not target:
        return True
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    return climbs > path.count("/") or ".." in parts[climbs:]


def is_git_name(component: str) -> bool:
    """Whether some file system takes this name for `.git`."""
    visible = "".join(c for c in component if ord(c) not in _IGNORABLE)
    name = visible.split(":")[0].rstrip(". ").casefold()
    return name in (".git", "git~1")


def forbidden_name(path: str) -> bool:
    """Whether a component of `path` is a `.git` of some file system, or climbs, or is too long."""
    parts = path.split("/")
    return len(path.encode(errors="surrogateescape")) > PATH_MAX_BYTES or any(
        part in ("", ".", "..") or is_git_name(part) for part in parts
    )


def collisions(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names, directories included, that one file system would take for the same."""
    seen: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for name in _with_directories(paths):
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            pairs.append((other, name))
    return pairs


def _with_directories(paths: Iterable[str]) -> Iterable[str]:
    done: set[str] = set()
    for path in paths:
        yield path
        above = path.rpartition("/")[0]
        while above and above not in done:
            done.add(above)
            yield above
            above = above.rpartition("/")[0]


def nested_repositories(paths: Iterable[str]) -> set[str]:
    """Directories that git would take for a bare repository, whose configuration it would obey."""
    heads: set[str] = set()
    members: dict[str, set[str]] = {}
    for path in paths:
        *directories, name = path.split("/")
        if name == "HEAD":
            heads.add("/".join(directories))
        elif name == "commondir":
            members.setdefault("/".join(directories), set()).add(name)
        for depth, directory in enumerate(directories):
            if directory in ("objects", "refs"):
                members.setdefault("/".join(directories[:depth]), set()).add(directory)
    return {
        place
        for place in heads
        if {"objects", "refs"} <= members.get(place, set())
        or "commondir" in members.get(place, set())
    }
