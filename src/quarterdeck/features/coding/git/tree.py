"""Stored trees: list them, compare them, judge what a mission added, and write them to disk."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from quarterdeck.core.errors import Conflict, InvalidInput, TooLarge
from quarterdeck.features.coding.git.mirror import Mirror
from quarterdeck.features.coding.git.rules import (
    SnapshotLimits,
    TreeRefused,
    collisions,
    forbidden_name,
    nested_repositories,
    shown,
    symlink_leaves,
)

SUBMODULE = "160000"
SYMLINK = "120000"
ABSENT = "000000"
ZIP_MAX_BYTES = 512 * 1024 * 1024
PATTERNS_MAX = 1000
_BATCH_LINE = re.compile(rb"^([0-9a-f]+) (\w+) (\d+)$")


class ChangeKind(StrEnum):
    """What happened to a file, as git names it."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    TYPE_CHANGED = "type_changed"
    RENAMED = "renamed"
    COPIED = "copied"


KINDS = {
    "A": ChangeKind.ADDED,
    "M": ChangeKind.MODIFIED,
    "D": ChangeKind.DELETED,
    "T": ChangeKind.TYPE_CHANGED,
    "R": ChangeKind.RENAMED,
    "C": ChangeKind.COPIED,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a stored tree: mode as git writes it, object id, path."""

    mode: str
    sha: str
    path: str


@dataclass(frozen=True, slots=True)
class RawChange:
    """One difference between two trees; mode `000000` where the path does not exist."""

    old_mode: str
    mode: str
    old_sha: str
    sha: str
    path: str


async def entries(mirror: Mirror, tree: str) -> list[Entry]:
    """All files of a commit or tree, submodules included."""
    ran = await mirror.git.run("ls-tree", "-r", "-z", "--full-tree", tree)
    found: list[Entry] = []
    for record in ran.stdout.decode(errors="surrogateescape").split("\x00"):
        about, tab, path = record.partition("\t")
        if tab:
            mode, _kind, sha = about.split(" ")
            found.append(Entry(mode, sha, path))
    return found


async def raw_changes(mirror: Mirror, base: str, tip: str) -> list[RawChange]:
    """What differs between two commits or trees, without guessing renames."""
    ran = await mirror.git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", base, tip)
    fields = ran.stdout.decode(errors="surrogateescape").split("\x00")
    found: list[RawChange] = []
    for about, path in zip(fields[0::2], fields[1::2], strict=False):
        old_mode, mode, old_sha, sha, _status = about.lstrip(":").split(" ")
        found.append(RawChange(old_mode, mode, old_sha, sha, path))
    return found


async def judge(mirror: Mirror, base: str, tree: str, limits: SnapshotLimits) -> None:
    """Refuse a stored tree that adds to `base` what a repository must not take.

    This looks at what was really stored, so nothing that was swapped during the snapshot passes.
    Raises TreeRefused, TooLarge.
    """
    changes = [change for change in await raw_changes(mirror, base, tree) if change.mode != ABSENT]
    new = [change.path for change in changes if change.old_mode == ABSENT]
    _judge_names(changes)
    links = [change for change in changes if change.mode == SYMLINK]
    targets = await contents(mirror, [change.sha for change in links])
    leaving = [
        change.path
        for change in links
        if symlink_leaves(change.path, os.fsdecode(targets[change.sha]))
    ]
    if leaving:
        raise TreeRefused("Symbolic links leave the tree", leaving, hint="Point them inside it.")
    await _judge_sizes(mirror, changes, limits)
    if new:
        paths = [entry.path for entry in await entries(mirror, tree)]
        await asyncio.to_thread(_judge_whole, paths, new, limits)


def _judge_names(changes: Sequence[RawChange]) -> None:
    gitlinks = [change.path for change in changes if change.mode == SUBMODULE]
    if gitlinks:
        raise TreeRefused(
            "Submodules were added or changed", gitlinks, hint="A mission keeps them as they are."
        )
    names = [change.path for change in changes if forbidden_name(change.path)]
    if names:
        raise TreeRefused("These names cannot be kept", names, hint="Rename them.")


def _judge_whole(paths: list[str], new: list[str], limits: SnapshotLimits) -> None:
    if len(paths) > limits.files:
        raise TooLarge(f"The tree holds over {limits.files} files.", where="sandbox")
    added = set(new)
    for one, other in collisions(paths):
        if any(_is_or_holds(name, added) for name in (one, other)):
            raise TreeRefused(
                "These names are the same on some systems", [one, other], hint="Rename one."
            )
    repositories = [
        place for place in nested_repositories(paths) if _is_or_holds(place, added) or not place
    ]
    if repositories:
        raise TreeRefused(
            "These directories are git repositories themselves",
            [place or "the top" for place in repositories],
            hint="Make them while the tests run instead.",
        )


def _is_or_holds(name: str, added: set[str]) -> bool:
    return name in added or any(path.startswith(f"{name}/") for path in added)


async def _judge_sizes(
    mirror: Mirror, changes: Sequence[RawChange], limits: SnapshotLimits
) -> None:
    shas = "".join(f"{change.sha}\n" for change in changes)
    ran = await mirror.git.run(
        "cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=shas.encode()
    )
    sizes = dict(line.split(" ") for line in ran.text.split("\n") if line)
    large = [change.path for change in changes if int(sizes[change.sha]) > limits.file_bytes]
    if large:
        raise TooLarge(
            f"Files over {limits.file_bytes // 1024 // 1024} MB: {', '.join(map(shown, large[:10]))}.",
            where="sandbox",
            hint="Keep them out of the repository.",
        )


async def contents(mirror: Mirror, shas: Iterable[str]) -> dict[str, bytes]:
    """The bytes of some objects by their id."""
    wanted = dict.fromkeys(shas)
    if not wanted:
        return {}
    stdin = "".join(f"{sha}\n" for sha in wanted).encode()
    output = (await mirror.git.run("cat-file", "--batch", stdin=stdin)).stdout
    found: dict[str, bytes] = {}
    start = 0
    while start < len(output):
        end = output.index(b"\n", start)
        header = _BATCH_LINE.match(output[start:end])
        assert header is not None, "an object that was just listed exists"
        size = int(header[3])
        found[header[1].decode()] = output[end + 1 : end + 1 + size]
        start = end + 1 + size + 1
    return found


async def read_file(mirror: Mirror, commit: str, path: str, *, max_bytes: int) -> bytes | None:
    """A file's bytes as a commit has them; None if it has none there; raises TooLarge.

    Symbolic links and submodules count as no file.
    """
    ran = await mirror.git.run("ls-tree", "-z", "--long", "--full-tree", commit, "--", path)
    about, _, name = ran.stdout.decode(errors="surrogateescape").rstrip("\x00").partition("\t")
    fields = about.split()
    if name != path or fields[0] in (SYMLINK, SUBMODULE) or fields[1] != "blob":
        return None
    if int(fields[3]) > max_bytes:
        raise TooLarge(f"The file has {fields[3]} bytes; at most {max_bytes}.", where=shown(path))
    return (await contents(mirror, [fields[2]]))[fields[2]]


async def write_files(mirror: Mirror, tree: str, path: Path, index: Path) -> None:
    """Write all files of `tree` into the directory `path`, and what was written into `index`.

    Content is written byte for byte; submodules become empty directories.
    """
    git = replace(mirror.git, work_tree=path, index=index)
    await git.run("read-tree", "--reset", "-u", tree, timeout_s=900.0)


async def checkout_clean(mirror: Mirror, commit: str, path: Path) -> None:
    """Write the files of a commit or tree into the new directory `path`, for a proof.

    There is no git directory in it. Either the whole tree is at `path` or nothing. Raises
    Conflict when `path` exists.
    """
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    await asyncio.to_thread(_new_directory, path, fresh)
    try:
        with tempfile.TemporaryDirectory(dir=mirror.path / "quarterdeck") as scratch:
            await write_files(mirror, commit, fresh, Path(scratch) / "index")
        await asyncio.to_thread(os.rename, fresh, path)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _new_directory(path: Path, fresh: Path) -> None:
    if path.exists() or path.is_symlink():
        raise Conflict("There is something already.", where=str(path))
    fresh.mkdir(parents=True)


async def restore(
    mirror: Mirror, commit: str, path: Path, patterns: Sequence[str]
) -> tuple[str, ...]:
    """Write the files of `commit` that match `patterns` over those in the directory `path`.

    Patterns are paths relative to the tree, with `*`, `?` and `**` as in gitignore; a directory
    means all below it. Links in the way are replaced, never followed. Returns the paths written.
    """
    if len(patterns) > PATTERNS_MAX or any(
        "\x00" in p or p.startswith(("/", ":")) for p in patterns
    ):
        raise InvalidInput("These are not paths inside the tree.", where="patterns")
    if not patterns:
        return ()
    with tempfile.TemporaryDirectory(dir=mirror.path / "quarterdeck") as scratch:
        globs = {"GIT_LITERAL_PATHSPECS": "0", "GIT_GLOB_PATHSPECS": "1"}
        git = replace(mirror.git, work_tree=path, index=Path(scratch) / "index", extra=globs)
        await git.run("read-tree", commit)
        listed = await git.run("ls-files", "-z", "--", *patterns)
        await git.run("checkout-index", "--force", "-z", "--stdin", stdin=listed.stdout)
    paths = listed.stdout.decode(errors="surrogateescape").split("\x00")
    return tuple(shown(one) for one in paths if one)


async def export_zip(mirror: Mirror, commit: str, destination: Path) -> int:
    """Write all files of a commit as a zip archive to `destination`; its size in bytes.

    Nothing is left out or replaced, whatever attributes the tree sets. Raises TooLarge.
    """
    fresh = destination.with_name(f".{destination.name}.{uuid.uuid4().hex}")
    try:
        await mirror.git.run(
            "archive", "--format=zip", f"--output={fresh}", commit, timeout_s=600.0
        )
        size = await asyncio.to_thread(lambda: fresh.stat().st_size)
        if size > ZIP_MAX_BYTES:
            raise TooLarge(f"The archive has {size} bytes; at most {ZIP_MAX_BYTES}.", where="tree")
        await asyncio.to_thread(os.replace, fresh, destination)
    finally:
        fresh.unlink(missing_ok=True)
    return size
