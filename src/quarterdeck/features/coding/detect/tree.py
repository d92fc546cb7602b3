"""A read-only, bounded view of a repository's files, so that detection itself touches nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

PATHS_MAX = 50_000
DEPTH_MAX = 12
READ_MAX = 256 * 1024
_SKIPPED = frozenset((
    ".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox",
    ".mypy_cache", ".ruff_cache", ".pytest_cache", "target", ".gradle", "vendor", ".bundle",
    "_build", "deps", ".dart_tool", "bower_components",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tree:
    """Sorted relative paths (with `/`) and a way to read one; `read` gives None when it cannot."""

    paths: tuple[str, ...]
    read: Callable[[str], bytes | None]

    def has(self, path: str) -> bool:
        return path in self.paths

    def first(self, *names: str) -> str | None:
        """The first of `names` (globs of file names in the root) that exists."""
        for name in names:
            found = [p for p in self.paths if "/" not in p and fnmatchcase(p, name)]
            if found:
                return found[0]
        return None

    def any(self, pattern: str) -> str | None:
        """The first path, at any depth, whose file name fits the glob `pattern`."""
        return next((p for p in self.paths if fnmatchcase(p.rsplit("/", 1)[-1], pattern)), None)

    def text(self, path: str) -> str:
        """The file's text ("" when it is missing, too large or not to be read)."""
        if path not in self.paths:
            return ""
        content = self.read(path)
        return "" if content is None else content.decode("utf-8", errors="replace")

    def below(self, directory: str) -> Tree:
        """The same view with `directory` as its root."""
        prefix = f"{directory}/"
        inner = tuple(p.removeprefix(prefix) for p in self.paths if p.startswith(prefix))
        return Tree(inner, lambda path: self.read(prefix + path))


def directory_tree(root: Path) -> Tree:
    """A view of the files below `root`, links not followed, build outputs left out."""

    def read(path: str) -> bytes | None:
        return read_regular(root / path, limit=READ_MAX)

    return Tree(tuple(sorted(_walk(root))), read)


def read_regular(path: Path, *, limit: int) -> bytes | None:
    """A regular file's bytes, or None when it is none, is a link, or holds more than `limit`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        content = file.read(limit + 1)
    return content if len(content) <= limit else None


def _walk(root: Path) -> Iterator[str]:
    frontier: list[tuple[str, int]] = [("", 0)]
    count = 0
    while frontier:
        prefix, depth = frontier.pop(0)
        try:
            entries = sorted(os.scandir(root / prefix), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED and depth < DEPTH_MAX:
                    frontier.append((f"{prefix}{entry.name}/", depth + 1))
            elif entry.is_file(follow_symlinks=False):
                count += 1
                if count > PATHS_MAX:
                    return
                yield prefix + entry.name


def line_of(text: str, needle: str) -> int:
    """The number of the first line that holds `needle`, 1 when none does."""
    for number, line in enumerate(text.splitlines(), start=1):
        if needle in line:
            return number
    return 1
