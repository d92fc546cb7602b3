"""A mission's sandbox: its files on disk, its branch in the mirror, and no git between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quarterdeck.core.errors import Conflict, NotFound, Refused
from quarterdeck.features.coding.git.configuration import EXACT, HARMLESS, TRANSPORT
from quarterdeck.features.coding.git.lock import SharedLock
from quarterdeck.features.coding.git.mirror import Mirror, mission_branch
from quarterdeck.features.coding.git.runner import Git
from quarterdeck.features.coding.git.tree import SUBMODULE, entries, write_files

TRASH = ".trash"
_UNFINISHED = ".unfinished"
_RECORD = "sandbox.json"


class UnkeptChanges(Refused):
    """The sandbox holds changes that no snapshot has; `files` names the first of them."""

    def __init__(self, files: tuple[str, ...]) -> None:
        self.files = files
        super().__init__(
            f"The sandbox holds changes that are in no snapshot: {', '.join(files[:10])}.",
            where="sandbox",
            hint="Take a snapshot first, or say that they are to be discarded.",
        )


@dataclass(frozen=True, slots=True)
class Sandbox:
    """An isolated tree of the target.

    `path` is all that the mission's programs may see and write. `base` is the commit it began
    from, `submodules` the paths that are kept as they are and not filled. `lock` is held while
    the server works on it.
    """

    mirror: Mirror
    mission_id: str
    path: Path
    branch: str
    base: str
    submodules: tuple[str, ...]
    shared_lock: SharedLock

    @property
    def ref(self) -> str:
        """The mission's branch in the mirror, as a full ref."""
        return f"refs/heads/{self.branch}"

    @property
    def index(self) -> Path:
        """The server's own index of the tree."""
        return self.mirror.mission_path(self.mission_id) / "index"

    @property
    def git(self) -> Git:
        """Git over the sandbox's files, with the mirror as git directory and our own index."""
        return replace(self.mirror.git, work_tree=self.path, index=self.index)

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Hold the sandbox alone, among tasks and processes."""
        return self.shared_lock.hold()


async def create(
    mirror: Mirror, mission_id: str, base_sha: str, path: Path, *, agent_git: bool = False
) -> Sandbox:
    """Write the tree of `base_sha` to `path` on the new branch `mission-ID`.

    Called again it returns the same sandbox; one left half made by a crash is made anew. With
    `agent_git` the tree gets a throw-away `.git` holding that one commit, which the server never
    reads. Raises Conflict when `path` or the mission's sandbox is something else.
    """
    base = await mirror.require_commit(base_sha, where="base_sha")
    place = mirror.mission_path(mission_id)
    await asyncio.to_thread(place.mkdir, 0o700, True, True)
    lock = SharedLock(place / "lock")
    async with lock.hold():
        record = await asyncio.to_thread(_read_record, place)
        if record is not None and await asyncio.to_thread(Path(record["path"]).is_dir):
            return _same(_from_record(mirror, mission_id, record, lock), base, path)
        links = tuple(one.path for one in await entries(mirror, base) if one.mode == SUBMODULE)
        sandbox = Sandbox(mirror, mission_id, path, mission_branch(mission_id), base, links, lock)
        await mirror.pin(mission_id, base)
        if await mirror.commit_at(sandbox.ref) is None:
            await mirror.set_ref(sandbox.ref, base, "")
        await _fill(sandbox, agent_git=agent_git)
    return sandbox


async def find(mirror: Mirror, mission_id: str) -> Sandbox:
    """The sandbox that was made for a mission; raises NotFound when there is none (any more)."""
    place = mirror.mission_path(mission_id)
    record = await asyncio.to_thread(_read_record, place)
    if record is None or not await asyncio.to_thread(Path(record["path"]).is_dir):
        raise NotFound(f"There is no sandbox of {mission_id}.", where="sandbox")
    return _from_record(mirror, mission_id, record, SharedLock(place / "lock"))


async def unkept_changes(sandbox: Sandbox) -> tuple[str, ...]:
    """Files in the sandbox that differ from the last snapshot, ignored ones left out."""
    on_disk = await sandbox.git.run(
        "ls-files", "-z", "--modified", "--others", "--exclude-standard", "--deduplicate"
    )
    in_index = await sandbox.git.run("diff-index", "--cached", "--name-only", "-z", sandbox.ref)
    listed = (on_disk.stdout + in_index.stdout).decode(errors="backslashreplace").split("\x00")
    return tuple(dict.fromkeys(path for path in listed if path))


async def remove(sandbox: Sandbox, *, discard: bool = False) -> None:
    """Take the sandbox away; its branch and snapshots stay in the mirror.

    It is renamed at once and deleted in the background. Raises UnkeptChanges unless everything is
    in a snapshot or `discard` says that the rest may go.
    """
    async with sandbox.lock():
        if await asyncio.to_thread(sandbox.path.is_dir):
            if not discard and (files := await unkept_changes(sandbox)):
                raise UnkeptChanges(files)
            gone = await asyncio.to_thread(_rename_away, sandbox.path)
            asyncio.get_running_loop().run_in_executor(None, _delete, gone)
        await asyncio.to_thread(_forget, sandbox)


def empty_trash(sandboxes: Path) -> None:
    """Delete what removals below the directory `sandboxes` left when a stop cut them short.

    For the start of the server; blocks.
    """
    trash = sandboxes / TRASH
    if trash.is_dir():
        for place in list(trash.iterdir()):
            _delete(place)


def _same(sandbox: Sandbox, base: str, path: Path) -> Sandbox:
    if sandbox.base != base or sandbox.path != path:
        raise Conflict(
            f"{sandbox.mission_id} already has a sandbox at {sandbox.path} on {sandbox.base[:12]}.",
            where="sandbox",
            hint="Remove it first.",
        )
    return sandbox


async def _fill(sandbox: Sandbox, *, agent_git: bool) -> None:
    """Write the tree beside its place and rename it there: whole, or not there at all."""
    path = sandbox.path
    fresh = path.parent / _UNFINISHED / path.name
    await asyncio.to_thread(_prepare, sandbox, fresh)
    tip = await sandbox.mirror.commit_at(sandbox.ref)
    assert tip is not None, "the branch was made before its files"
    await write_files(sandbox.mirror, tip, fresh, sandbox.index)
    if agent_git:
        await _give_git(sandbox, fresh)
    await asyncio.to_thread(_put_in_place, sandbox, fresh)


def _prepare(sandbox: Sandbox, fresh: Path) -> None:
    path = sandbox.path
    if path.is_symlink() or (path.exists() and any(path.iterdir())):
        raise Conflict("There is something already.", where=str(path))
    if path.exists():
        path.rmdir()
    if fresh.exists():  # what a crash left; only one task at a time makes this sandbox
        shutil.rmtree(fresh)
    fresh.mkdir(parents=True)
    _drop_index(sandbox.index)


def _put_in_place(sandbox: Sandbox, fresh: Path) -> None:
    # The record comes first: with it, a directory at the path is a whole sandbox of ours.
    _write_record(sandbox.mirror.mission_path(sandbox.mission_id), sandbox)
    os.rename(fresh, sandbox.path)


async def _give_git(sandbox: Sandbox, tree: Path) -> None:
    """A `.git` for agents that want one: one commit, no way back to the mirror."""
    settings = HARMLESS + EXACT + TRANSPORT
    home = sandbox.mirror.home
    await Git(home).run(
        "init", "--quiet", "--template=", f"--initial-branch={sandbox.branch}", str(tree)
    )
    git = Git(home, git_dir=tree / ".git", work_tree=tree, cwd=tree, settings=settings)
    await git.run(
        "fetch", "--quiet", "--depth=1", "--no-tags", "--update-head-ok", "--no-write-fetch-head",
        "--", f"file://{sandbox.mirror.path}", f"+{sandbox.ref}:{sandbox.ref}",
    )  # fmt: skip
    await git.run("reset", "--quiet", "--mixed")


def _read_record(place: Path) -> dict[str, Any] | None:
    try:
        return json.loads((place / _RECORD).read_text())
    except FileNotFoundError:
        return None


def _write_record(place: Path, sandbox: Sandbox) -> None:
    record = {
        "path": str(sandbox.path),
        "base": sandbox.base,
        "submodules": list(sandbox.submodules),
    }
    fresh = place / f"{_RECORD}.new"
    with fresh.open("w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, place / _RECORD)


def _from_record(
    mirror: Mirror, mission_id: str, record: dict[str, Any], lock: SharedLock
) -> Sandbox:
    return Sandbox(
        mirror=mirror,
        mission_id=mission_id,
        path=Path(record["path"]),
        branch=mission_branch(mission_id),
        base=record["base"],
        submodules=tuple(record["submodules"]),
        shared_lock=lock,
    )


def _rename_away(path: Path) -> Path:
    trash = path.parent / TRASH
    trash.mkdir(exist_ok=True)
    gone = trash / f"{path.name}.{uuid.uuid4().hex}"
    os.rename(path, gone)
    return gone


def _delete(place: Path) -> None:
    shutil.rmtree(place, onerror=_unlock_and_retry)


def _forget(sandbox: Sandbox) -> None:
    place = sandbox.mirror.mission_path(sandbox.mission_id)
    (place / _RECORD).unlink(missing_ok=True)
    shutil.rmtree(place / "set-aside", ignore_errors=True)
    _drop_index(sandbox.index)


def _drop_index(index: Path) -> None:
    index.unlink(missing_ok=True)
    index.with_name("index.lock").unlink(missing_ok=True)


def _unlock_and_retry(_do: Callable[..., object], name: str, why: tuple[object, ...]) -> None:
    """A program may have taken away our right to look into or empty its directories.

    What still cannot be deleted stays in the trash for the next start.
    """
    if isinstance(why[1], FileNotFoundError):
        return
    place = name if os.path.isdir(name) and not os.path.islink(name) else os.path.dirname(name)
    with contextlib.suppress(OSError):
        os.chmod(place, stat.S_IRWXU)
        if place == name:
            shutil.rmtree(name, ignore_errors=True)
        else:
            os.unlink(name)
