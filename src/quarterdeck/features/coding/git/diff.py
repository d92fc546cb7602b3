"""Differences between two commits, as unified text and per file, bounded."""

from __future__ import annotations

from dataclasses import dataclass

from quarterdeck.features.coding.git.mirror import Mirror, check_sha
from quarterdeck.features.coding.git.rules import shown
from quarterdeck.features.coding.git.tree import KINDS, ChangeKind

TEXT_MAX_BYTES = 2 * 1024 * 1024
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color")


@dataclass(frozen=True, slots=True)
class FileChange:
    """One changed file; line counts are None for binary content.

    `old_path` is where a renamed or copied file comes from. `mode` is git's (`100755` is
    executable, `120000` a symbolic link, `000000` no file). Bytes of a name that are not UTF-8
    appear as `\\xNN`.
    """

    path: str
    kind: ChangeKind
    mode: str
    lines_added: int | None
    lines_deleted: int | None
    old_path: str | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """Sums over the changed files; binary ones count as files only."""

    files: int
    lines_added: int
    lines_deleted: int


@dataclass(frozen=True, slots=True)
class Diff:
    """What changed between two commits; `truncated` when the text was cut at its limit."""

    base: str
    tip: str
    files: tuple[FileChange, ...]
    stats: Stats
    text: str
    truncated: bool


async def diff(
    mirror: Mirror, base: str, tip: str, *, text_max_bytes: int = TEXT_MAX_BYTES
) -> Diff:
    """The unified diff of two commits or trees, at most `text_max_bytes` of it, and its files."""
    check_sha(base)
    check_sha(tip)
    files = await file_changes(mirror, base, tip)
    ran = await mirror.git.run(
        "diff-tree", "-r", "-p", "-M", *_PLAIN, base, tip,
        output_max_bytes=text_max_bytes, cut=True,
    )  # fmt: skip
    text = ran.stdout.decode(errors="replace")
    return Diff(base, tip, files, stats(files), text, ran.truncated)


async def file_changes(mirror: Mirror, base: str, tip: str) -> tuple[FileChange, ...]:
    """The files that differ, renames found, with their line counts."""
    ran = await mirror.git.run(
        "diff-tree", "-r", "-z", "-M", "--raw", "--numstat", *_PLAIN, base, tip
    )
    fields = ran.stdout.decode(errors="surrogateescape").split("\x00")
    return _parse(fields)


def stats(files: tuple[FileChange, ...]) -> Stats:
    """The sums over `files`."""
    added = sum(file.lines_added or 0 for file in files)
    deleted = sum(file.lines_deleted or 0 for file in files)
    return Stats(len(files), added, deleted)


def _parse(fields: list[str]) -> tuple[FileChange, ...]:
    """Read `--raw --numstat -z`: all raw records first, then the counts in the same order."""
    raw: list[tuple[str, str, str, str | None]] = []
    at = 0
    while fields[at].startswith(":"):
        _old_mode, mode, _old_sha, _sha, status = fields[at].lstrip(":").split(" ")
        renamed = status[0] in "RC"
        old_path = fields[at + 1] if renamed else None
        raw.append((status[0], mode, fields[at + 1 + renamed], old_path))
        at += 2 + renamed
    found: list[FileChange] = []
    for status, mode, path, old_path in raw:
        added, deleted, _name = fields[at].split("\t", 2)
        at += 1 if old_path is None else 3
        found.append(
            FileChange(
                path=shown(path),
                kind=KINDS[status],
                mode=mode,
                lines_added=None if added == "-" else int(added),
                lines_deleted=None if deleted == "-" else int(deleted),
                old_path=None if old_path is None else shown(old_path),
            )
        )
    return tuple(found)
