"""Server-owned bare mirrors of target repositories: the only git directories the server writes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import uuid
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from quarterdeck.core.errors import Conflict, InvalidInput, NotFound
from quarterdeck.core.ids import check_id
from quarterdeck.features.coding.git import commits
from quarterdeck.features.coding.git.configuration import (
    ATTRIBUTES,
    EXACT,
    EXCLUDES,
    HARMLESS,
    TRANSPORT,
)
from quarterdeck.features.coding.git.lock import SharedLock
from quarterdeck.features.coding.git.runner import (
    TRANSFER_TIMEOUT_S,
    Git,
    GitFailed,
    check_version,
)
from quarterdeck.features.coding.git.target import Target, examine, remote_head

BRANCH_MAX = 200
_SHA = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch of the target and its tip.

    `exists` is False for the branch of a repository without commits: then `tip` is the mirror's
    own empty first commit, so that there is always something to start from.
    """

    name: str
    tip: str
    exists: bool = True


class Mirror:
    """One target's bare copy: its branches and tags, and every mission's branch and pins.

    `target` is None for a repository that Quarterdeck itself began; the mirror then is the target.
    Refs: `refs/target/heads/*` and `refs/target/tags/*` are what the target has,
    `refs/heads/mission-ID` is a mission's branch, `refs/quarterdeck/ID/*` pins its commits.
    """

    def __init__(self, path: Path, home: Path, target: Target | None) -> None:
        self.path = path
        self.home = home
        self.target = target
        self.git = Git(home, git_dir=path)
        self._lock = SharedLock(path / "quarterdeck.lock")

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Hold the mirror alone, among tasks and processes; not re-entrant."""
        return self._lock.hold()

    @property
    def location(self) -> str:
        """Where the target is, as shown to people."""
        return str(self.path) if self.target is None else self.target.shown

    def target_ref(self, branch: str) -> str:
        """The ref that holds what we know of the target's branch."""
        return f"refs/heads/{branch}" if self.target is None else f"refs/target/heads/{branch}"

    def mission_path(self, mission_id: str) -> Path:
        """The server's own files for one mission (index, record, lock); never in the sandbox."""
        return self.path / "quarterdeck" / check_id(mission_id, where="mission_id")

    async def refresh(self) -> None:
        """Fetch the target's branches and tags as they are now; raises GitFailed."""
        async with self.lock():
            await self.refresh_locked()

    async def refresh_locked(self) -> None:
        """As `refresh`, for who already holds the lock."""
        if self.target is None:
            return
        git = Git(self.home, git_dir=self.path, settings=HARMLESS + EXACT + TRANSPORT)
        await git.run(
            "fetch", "--quiet", "--force", "--prune", "--no-tags", "--no-auto-maintenance",
            "--no-write-fetch-head", "--no-recurse-submodules", "--update-shallow", "--refmap=",
            *self.target.transport("upload-pack", self.home),
            "--", self.target.location,
            "+refs/heads/*:refs/target/heads/*", "+refs/tags/*:refs/target/tags/*",
            timeout_s=TRANSFER_TIMEOUT_S,
        )  # fmt: skip

    async def branch(self, name: str | None = None) -> Branch:
        """The named branch of the target as last fetched, or the one its HEAD names.

        Raises InvalidInput (not a branch name; HEAD detached), NotFound (no such branch).
        """
        wanted = await self._head() if name is None else name
        if wanted is None:
            raise InvalidInput(
                f"{self.location} has no branch checked out (its HEAD is detached).",
                where="target_branch",
                hint="Name the branch that the mission is for.",
            )
        await self._check_branch_name(wanted)
        tip = await self.commit_at(self.target_ref(wanted))
        if tip is not None:
            return Branch(wanted, tip)
        branches = await self.branches()
        if not branches and wanted == (await self._head() or "main"):
            return Branch(wanted, await self.root(), exists=False)
        shown = ", ".join(branches[:10]) or "none yet"
        raise NotFound(
            f"{self.location} has no branch {wanted!r}.",
            where="target_branch",
            hint=f"Its branches: {shown}.",
        )

    async def branches(self) -> tuple[str, ...]:
        """The names of the target's branches as last fetched, mission branches left out."""
        prefix = self.target_ref("")
        ran = await self.git.run("for-each-ref", "--format=%(refname)", prefix.rstrip("/"))
        names = ran.stdout.decode(errors="surrogateescape").split("\n")
        found = [name.removeprefix(prefix) for name in names if name]
        if self.target is None:
            found = [name for name in found if not name.startswith("mission-")]
        return tuple(found)

    async def _head(self) -> str | None:
        if self.target is None:
            return "main"
        if self.target.path is None:
            return await remote_head(self.target, self.home)
        return self.target.head

    async def _check_branch_name(self, name: str) -> None:
        if 0 < len(name) <= BRANCH_MAX and "\x00" not in name and not name.startswith("-"):
            ran = await self.git.run("check-ref-format", f"refs/heads/{name}", accept=(0, 1))
            if ran.exit_code == 0:
                return
        raise InvalidInput(
            f"{name[:80]!r} is not a branch name.",
            where="target_branch",
            hint="Give the name of a branch, such as main.",
        )

    async def root(self) -> str:
        """The empty first commit, the same in every mirror of one hash; a repository begins here."""
        tree = await self.git.text("mktree")
        content = commits.content(tree, (), "Begin", at=commits.EPOCH)
        return await commits.write(self.git, content)

    async def commit_at(self, name: str) -> str | None:
        """The commit that a full ref or hash names here, or None."""
        if not name.startswith("refs/"):
            check_sha(name)
        ran = await self.git.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}",
            accept=(0, 1, 128),
        )  # fmt: skip
        return ran.text if ran.exit_code == 0 else None

    async def require_commit(self, sha: str, *, where: str) -> str:
        """The commit `sha`, or NotFound naming `where` it was asked for."""
        found = await self.commit_at(sha)
        if found is None:
            raise NotFound(f"There is no commit {sha} in {self.location}.", where=where)
        return found

    async def tree_of(self, commit: str) -> str:
        """The tree of a commit."""
        return await self.git.text("rev-parse", "--verify", f"{commit}^{{tree}}")

    async def contains(self, ancestor: str, tip: str) -> bool:
        """Whether `tip` is `ancestor` or descends from it."""
        ran = await self.git.run("merge-base", "--is-ancestor", ancestor, tip, accept=(0, 1))
        return ran.exit_code == 0

    async def set_ref(self, ref: str, new: str, old: str | None = None) -> None:
        """Move a ref; with `old` ("" = must not exist) only from there, else Conflict."""
        expected = () if old is None else (old or "0" * len(new),)
        try:
            await self.git.run("update-ref", "-m", "quarterdeck", ref, new, *expected)
        except GitFailed as error:
            if error.exit_code is None or old is None:
                raise
            raise Conflict(f"{ref} has moved ({error.line}).", where=self.location) from error

    async def pin(self, mission_id: str, commit: str, name: str = "base") -> None:
        """Keep a mission's commit alive as `refs/quarterdeck/ID/NAME`."""
        await self.set_ref(pin_ref(mission_id, name), commit)

    async def maintain(self) -> None:
        """Pack objects and drop what nothing has needed for two weeks; no mission loses anything."""
        async with self.lock():
            await self.git.run("gc", "--quiet", "--prune=14.days.ago", timeout_s=TRANSFER_TIMEOUT_S)


class Mirrors:
    """All mirrors, below `root`, one per target; `root` is the server's alone."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._home = root / "home"
        self._opened: dict[str, Mirror] = {}
        self._checked = False

    async def open(self, repository: str | None, *, name: str | None = None) -> Mirror:
        """The up-to-date mirror of a path or URL; made when it is asked for the first time.

        With None it is a new, empty repository called `name` (a mission's id), or that same one
        when it exists. Raises InvalidInput, NotFound, GitFailed, Unavailable.
        """
        await asyncio.to_thread(_make_private, self._home)
        if not self._checked:
            await check_version(Git(self._home))
            self._checked = True
        if repository is None:
            if name is None:
                raise InvalidInput("A new repository needs a name.", where="repository")
            key, target = f"new-{check_id(name, where='name')}", None
        else:
            target = await examine(repository, self._home)
            key = hashlib.sha256(_identity(target).encode(errors="surrogateescape")).hexdigest()[
                :32
            ]
        mirror = await self._prepared(key, target)
        await mirror.refresh()
        return mirror

    async def _prepared(self, key: str, target: Target | None) -> Mirror:
        path = self._root / f"{key}.git"
        if not await asyncio.to_thread(path.exists):
            await self._make(path, target)
        mirror = self._opened.setdefault(key, Mirror(path, self._home, target))
        mirror.target = target
        return mirror

    async def _make(self, path: Path, target: Target | None) -> None:
        fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        object_format = "sha1" if target is None else target.object_format
        await Git(self._home).run(
            "init", "--bare", "--quiet", "--template=", f"--object-format={object_format}",
            "--initial-branch=main", str(fresh),
        )  # fmt: skip
        mirror = Mirror(fresh, self._home, target)
        await asyncio.to_thread(_write_rules, fresh, mirror.location)
        if target is None:
            await mirror.set_ref("refs/heads/main", await mirror.root(), "")
        await asyncio.to_thread(_put_in_place, fresh, path)


def pin_ref(mission_id: str, name: str) -> str:
    """The ref that keeps a mission's commit alive."""
    return f"refs/quarterdeck/{check_id(mission_id, where='mission_id')}/{name}"


def mission_branch(mission_id: str) -> str:
    """The branch of a mission (ORC-6)."""
    return f"mission-{check_id(mission_id, where='mission_id')}"


def check_sha(value: str) -> str:
    """Return `value` if it is a full object id, else raise InvalidInput."""
    if _SHA.match(value):
        return value
    raise InvalidInput(f"{value[:80]!r} is not a full commit id.", where="commit")


def _identity(target: Target) -> str:
    # A linked work tree is the same repository as its main one: they share locks and refs.
    return str(target.git_dir) if target.git_dir is not None else target.shown


def _make_private(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write_rules(path: Path, location: str) -> None:
    info = path / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text(ATTRIBUTES)
    (info / "exclude").write_text(EXCLUDES)
    (path / "quarterdeck").mkdir()
    (path / "quarterdeck" / "location").write_text(f"{location}\n", errors="backslashreplace")


def _put_in_place(fresh: Path, path: Path) -> None:
    try:
        os.rename(fresh, path)
    except OSError:
        shutil.rmtree(fresh)
        if not path.exists():  # anything but another process having been first
            raise
