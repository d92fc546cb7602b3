"""Look over a sandbox's files before git reads them: the blocking half of a snapshot."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from quarterdeck.core.errors import TooLarge
from quarterdeck.features.coding.git.rules import (
    SnapshotLimits,
    TreeRefused,
    forbidden_name,
    is_git_name,
    shown,
    symlink_leaves,
)


@dataclass(slots=True)
class Scan:
    """What the walk found: paths relative to the sandbox, by what they are."""

    files: int = 0
    nested_git: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    leaving: list[str] = field(default_factory=list)
    in_submodules: list[str] = field(default_factory=list)
    large: list[tuple[str, int]] = field(default_factory=list)
    linked: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    link_counts: dict[tuple[int, int], int] = field(default_factory=dict)


def scan(
    root: Path,
    *,
    ignored: Iterable[str],
    known_links: frozenset[str],
    submodules: frozenset[str],
    limits: SnapshotLimits,
) -> Scan:
    """Walk the sandbox, leaving out `ignored` paths (directories end with `/`).

    `known_links` are the symbolic links the base already has, which are not judged; `submodules`
    the directories whose content is not the mission's. Raises TooLarge.
    """
    found = Scan()
    skipped = {path.rstrip("/") for path in ignored}
    pending = [("", 0)]
    while pending:
        place, depth = pending.pop()
        if depth > limits.depth:
            raise TooLarge(f"Directories are nested over {limits.depth} deep.", where=shown(place))
        with os.scandir(os.path.join(root, place)) as entries:
            for entry in entries:
                path = f"{place}/{entry.name}" if place else entry.name
                if path in skipped:
                    continue
                if place in submodules:
                    found.in_submodules.append(path)
                elif _descend(found, path, entry, known_links, limits):
                    pending.append((path, depth + 1))
        if found.files > limits.files:
            raise TooLarge(
                f"The sandbox holds over {limits.files} files.",
                where="sandbox",
                hint="Name generated directories in .gitignore.",
            )
    return found


def _descend(
    found: Scan,
    path: str,
    entry: os.DirEntry[str],
    known_links: frozenset[str],
    limits: SnapshotLimits,
) -> bool:
    """Sort one entry in; whether it is a directory to walk."""
    if entry.name == ".git":
        if path != ".git":
            found.nested_git.append(path)
        return False
    if is_git_name(entry.name) or forbidden_name(path):
        found.names.append(path)
        return False
    if entry.is_dir(follow_symlinks=False):
        return True
    found.files += 1
    about = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(about.st_mode):
        if path not in known_links and symlink_leaves(path, os.readlink(entry.path)):
            found.leaving.append(path)
    elif not stat.S_ISREG(about.st_mode):
        found.special.append(path)
    else:
        _note_file(found, path, about, limits)
    return False


def _note_file(found: Scan, path: str, about: os.stat_result, limits: SnapshotLimits) -> None:
    if about.st_size > limits.file_bytes:
        found.large.append((path, about.st_size))
    if about.st_nlink > 1:
        inode = (about.st_dev, about.st_ino)
        found.linked.setdefault(inode, []).append(path)
        found.link_counts[inode] = about.st_nlink


def refuse(found: Scan, limits: SnapshotLimits, *, known: frozenset[str] = frozenset()) -> None:
    """Raise TreeRefused or TooLarge for the first kind of thing that must not be kept.

    `known` are files of the base, which may be as large as they were.
    """
    outside = [
        path
        for inode, paths in found.linked.items()
        if len(paths) < found.link_counts[inode]
        for path in paths
    ]
    for why, paths, hint in (
        ("Devices, pipes and sockets cannot be kept", found.special, "Remove them."),
        ("These names mean .git on some systems", found.names, "Rename them."),
        ("Symbolic links leave the tree", found.leaving, "Point them inside it, without '..'."),
        ("Hard links to files outside of the tree", outside, "Copy the files instead."),
        ("Files of a submodule were changed", found.in_submodules, "Change it in its own mission."),
    ):
        if paths:
            raise TreeRefused(why, sorted(paths), hint=hint)
    large = sorted(path for path, _size in found.large if path not in known)
    if large:
        raise TooLarge(
            f"Files over {limits.file_bytes // 1024 // 1024} MB: "
            f"{', '.join(shown(path) for path in large[:10])}.",
            where="sandbox",
            hint="Keep them out of the repository, for example by .gitignore.",
        )


def set_aside(root: Path, paths: Iterable[str], destination: Path) -> tuple[str, ...]:
    """Move nested `.git` entries out of the sandbox, where nothing reads them; nothing is lost."""
    moved: list[str] = []
    for path in paths:
        destination.mkdir(parents=True, exist_ok=True)
        number = len(os.listdir(destination))
        os.rename(os.path.join(root, path), destination / f"{number}-git")
        moved.append(shown(path))
    return tuple(moved)
