"""Keep a sandbox's files as a commit on the mission's branch, running nothing they brought."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from quarterdeck.core.errors import NotFound
from quarterdeck.features.coding.git import commits
from quarterdeck.features.coding.git.diff import FileChange, Stats, file_changes, stats
from quarterdeck.features.coding.git.rules import SnapshotLimits, TreeRefused, shown
from quarterdeck.features.coding.git.sandbox import Sandbox
from quarterdeck.features.coding.git.scan import Scan, refuse, scan, set_aside
from quarterdeck.features.coding.git.tree import (
    ABSENT,
    SUBMODULE,
    SYMLINK,
    entries,
    judge,
    raw_changes,
)

LIMITS = SnapshotLimits()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a sandbox, kept.

    `files` and `stats` compare it with the mission's base. `changed` says whether it differs from
    the snapshot before; if not, `commit` is that one. `set_aside` names nested `.git` directories
    that were moved out of the tree.
    """

    commit: str
    tree: str
    files: tuple[FileChange, ...]
    stats: Stats
    changed: bool
    set_aside: tuple[str, ...] = ()


async def snapshot(
    sandbox: Sandbox, message: str, *, at: datetime, limits: SnapshotLimits = LIMITS
) -> Snapshot:
    """Commit the sandbox's files as they are, byte for byte, to its branch.

    Files that the tree's `.gitignore` names are left out, content filters and hooks never run.
    Raises TreeRefused or TooLarge, the branch then unchanged, and NotFound without a sandbox.
    """
    async with sandbox.lock():
        if not await asyncio.to_thread(sandbox.path.is_dir):
            raise NotFound("The sandbox is gone.", where=str(sandbox.path))
        return await _snapshot_locked(sandbox, message, at, limits)


async def _snapshot_locked(
    sandbox: Sandbox, message: str, at: datetime, limits: SnapshotLimits
) -> Snapshot:
    mirror = sandbox.mirror
    # We hold the sandbox: a lock file of the index can only be what a killed process left.
    sandbox.index.with_name("index.lock").unlink(missing_ok=True)
    tip = await mirror.commit_at(sandbox.ref)
    if tip is None:
        raise NotFound(f"The branch {sandbox.branch} is gone.", where=mirror.location)
    aside = await _look_over(sandbox, limits)
    await sandbox.git.run("add", "--all", "--", ".", timeout_s=900.0)
    await _keep_submodules(sandbox)
    tree = await sandbox.git.text("write-tree")
    await judge(mirror, sandbox.base, tree, limits)
    commit = tip
    if changed := tree != await mirror.tree_of(tip):
        text = commits.message(message, "", [("Mission-Id", sandbox.mission_id)])
        commit = await commits.write(mirror.git, commits.content(tree, [tip], text, at=at))
        await mirror.set_ref(sandbox.ref, commit, tip)
    files = await file_changes(mirror, sandbox.base, tree)
    return Snapshot(commit, tree, files, stats(files), changed, aside)


async def _look_over(sandbox: Sandbox, limits: SnapshotLimits) -> tuple[str, ...]:
    """Refuse what cannot be kept, and move nested `.git` out of the way; returns their paths."""
    listed = await sandbox.git.run(
        "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"
    )
    ignored = listed.stdout.decode(errors="surrogateescape").split("\x00")
    base = await entries(sandbox.mirror, sandbox.base)
    found = await asyncio.to_thread(
        _scan,
        sandbox,
        [path for path in ignored if path],
        frozenset(entry.path for entry in base if entry.mode == SYMLINK),
        limits,
    )
    refuse(found, limits, known=frozenset(entry.path for entry in base))
    aside = sandbox.mirror.mission_path(sandbox.mission_id) / "set-aside"
    return await asyncio.to_thread(set_aside, sandbox.path, found.nested_git, aside)


def _scan(
    sandbox: Sandbox, ignored: list[str], known_links: frozenset[str], limits: SnapshotLimits
) -> Scan:
    try:
        return scan(
            sandbox.path,
            ignored=ignored,
            known_links=known_links,
            submodules=frozenset(sandbox.submodules),
            limits=limits,
        )
    except PermissionError as error:
        names = [shown(str(error.filename))]
        raise TreeRefused("These cannot be read", names, hint="Give them back.") from error
    except FileNotFoundError as error:
        names = [shown(str(error.filename))]
        hint = "End the programs that still write there."
        raise TreeRefused("These vanished during the snapshot", names, hint=hint) from error


async def _keep_submodules(sandbox: Sandbox) -> None:
    """Put back the entries of submodules whose empty directory was removed."""
    if not sandbox.submodules:
        return
    tree = await sandbox.git.text("write-tree")
    lost = [
        change
        for change in await raw_changes(sandbox.mirror, sandbox.base, tree)
        if change.old_mode == SUBMODULE and change.mode == ABSENT
    ]
    for change in lost:
        entry = f"{SUBMODULE},{change.old_sha},{change.path}"
        await sandbox.git.run("update-index", "--add", "--cacheinfo", entry)
