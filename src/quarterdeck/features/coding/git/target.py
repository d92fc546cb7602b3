"""The repository a mission works for: where it is, what it is like, and who has it checked out."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from quarterdeck.core.errors import InvalidInput, NotFound, Refused
from quarterdeck.features.coding.git.configuration import (
    HARMLESS,
    RECEIVE,
    TRANSPORT,
    environment,
    remote_command,
    without_filters,
)
from quarterdeck.features.coding.git.runner import (
    Git,
    GitFailed,
    fixed_environment,
    hide_credentials,
)

LOCATION_MAX = 4096
_SCP_LIKE = re.compile(r"^(?:[A-Za-z0-9_][\w.-]*@)?[A-Za-z0-9][\w.-]*:(?!//)[^:].*$")
_FILTER_KEY = re.compile(r"^filter\.(.+)\.(?:clean|smudge|process|required)$", re.DOTALL)
_SCHEMES = ("https", "ssh")


@dataclass(frozen=True, slots=True)
class Checkout:
    """A work tree of the target and the branch checked out there (None: detached)."""

    path: Path
    branch: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """A target repository, examined; `path` is None for one on another machine.

    `git_dir` is the shared git directory of a local one, `head` the branch that HEAD names (None
    when detached or unknown), `object_format` its hash. `filters` are the content filters its own
    configuration names: they are never run.
    """

    location: str
    path: Path | None = None
    git_dir: Path | None = None
    bare: bool = False
    shallow: bool = False
    head: str | None = None
    object_format: str = "sha1"
    filters: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The location as it may be shown: without credentials."""
        return hide_credentials(self.location)

    def git(self, home: Path, cwd: Path | None = None) -> Git:
        """Git inside the local target: its own files, none of its programs."""
        assert self.path is not None
        place = cwd or self.path
        settings = HARMLESS + _trusted(place, self.git_dir) + without_filters(self.filters)
        return Git(home, cwd=place, settings=settings)

    def transport(self, command: str, home: Path) -> tuple[str, ...]:
        """The option that starts `upload-pack` or `receive-pack` in a local target, tamed."""
        if self.path is None:
            return ()
        settings = HARMLESS + _trusted(self.path, self.git_dir) + without_filters(self.filters)
        if command == "receive-pack":
            settings += RECEIVE
        words = remote_command(command, fixed_environment(home) | environment(settings))
        return (f"--{command}={words}",)


def _trusted(path: Path, git_dir: Path | None) -> tuple[tuple[str, str], ...]:
    places = {str(path), str(path / ".git")} | ({str(git_dir)} if git_dir else set())
    return tuple(("safe.directory", place) for place in sorted(places))


async def examine(repository: str, home: Path) -> Target:
    """Find out what `repository` (a path or an https or ssh URL) is, without running its code.

    Raises InvalidInput, NotFound.
    """
    if not repository.strip() or len(repository) > LOCATION_MAX or "\x00" in repository:
        raise InvalidInput("The repository is not named.", where="repository", hint=_HINT)
    if repository.startswith("-"):
        raise _unusable(repository, "starts with '-'")
    path = _local_path(repository)
    if path is None:
        return Target(repository)
    return await _examine_local(repository, await asyncio.to_thread(_existing, path), home)


_HINT = "Give the path of a git repository on this machine, or an https:// or ssh:// URL."


def _unusable(repository: str, why: str) -> InvalidInput:
    shown = hide_credentials(repository)[:200]
    return InvalidInput(f"{shown!r} {why}.", where="repository", hint=_HINT)


def _local_path(repository: str) -> Path | None:
    if "://" not in repository and "::" not in repository:
        if _SCP_LIKE.match(repository) and not repository.startswith(("/", ".", "~")):
            return None
        return Path(repository)
    try:
        parts = urlsplit(repository)
        host = parts.hostname or ""
    except ValueError:
        raise _unusable(repository, "is not a valid URL") from None
    if parts.scheme == "file" and host in ("", "localhost"):
        return Path(unquote(parts.path))
    if parts.scheme not in _SCHEMES or not host or host.startswith("-"):
        raise _unusable(repository, "is not reached in a way that is allowed")
    return None


def _existing(path: Path) -> Path:
    try:
        found = path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        raise NotFound(f"There is no {str(path)!r}.", where="repository", hint=_HINT) from None
    if not found.is_dir():
        raise _unusable(str(path), "is a file, not a repository")
    return found.parent if found.name == ".git" else found


async def _examine_local(location: str, path: Path, home: Path) -> Target:
    settings = HARMLESS + _trusted(path, None)
    git = Git(home, cwd=path, settings=settings)
    try:
        ran = await git.run(
            "rev-parse", "--is-bare-repository", "--is-shallow-repository", "--show-object-format",
            "--path-format=absolute", "--git-dir", "--git-common-dir",
        )  # fmt: skip
    except GitFailed as error:
        raise _unusable(str(path), f"is not the top of a git repository ({error.line})") from error
    shown = ran.stdout.decode(errors="surrogateescape").rstrip("\n").split("\n")
    if len(shown) != 5:
        raise _unusable(str(path), "has a line break in its path")
    bare, shallow, object_format, own_dir, git_dir = shown
    await _check_top(git, path, Path(own_dir) if bare == "true" else None)
    return Target(
        location=str(path),
        path=path,
        git_dir=Path(git_dir),
        bare=bare == "true",
        shallow=shallow == "true",
        head=await _head(git),
        object_format=object_format,
        filters=await _filters(git),
    )


async def _check_top(git: Git, path: Path, bare_dir: Path | None) -> None:
    """The repository must be at `path` itself, its files too: a `core.worktree` elsewhere would
    have a delivery write there."""
    if bare_dir is not None:
        if bare_dir not in (path, path / ".git"):
            raise _unusable(str(path), "is not the top of a git repository")
        return
    try:
        ran = await git.run("rev-parse", "--show-toplevel")
    except GitFailed as error:
        raise _unusable(str(path), f"has no work tree ({error.line})") from error
    if Path(ran.stdout.decode(errors="surrogateescape").rstrip("\n")) != path:
        raise _unusable(str(path), "is not the top of a work tree, or has its files elsewhere")


async def _head(git: Git) -> str | None:
    ran = await git.run("symbolic-ref", "--quiet", "HEAD", accept=(0, 1))
    return ran.text.removeprefix("refs/heads/") if ran.text.startswith("refs/heads/") else None


async def _filters(git: Git) -> tuple[str, ...]:
    ran = await git.run("config", "--null", "--name-only", "--list")
    keys = ran.stdout.decode(errors="surrogateescape").split("\x00")
    return tuple(sorted({found[1] for key in keys if (found := _FILTER_KEY.match(key))}))


async def remote_head(target: Target, home: Path) -> str | None:
    """The branch that HEAD of a target on another machine names; None when detached or unborn."""
    git = Git(home, settings=HARMLESS + TRANSPORT)
    ran = await git.run("ls-remote", "--symref", "--", target.location, "HEAD")
    found = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", ran.text, re.MULTILINE)
    return found[1] if found else None


async def checkouts(target: Target, home: Path) -> tuple[Checkout, ...]:
    """The work trees of a local target with their branches; none for a bare or remote one."""
    if target.path is None:
        return ()
    ran = await target.git(home).run("worktree", "list", "--porcelain", "-z")
    found: list[Checkout] = []
    for block in ran.stdout.decode(errors="surrogateescape").split("\x00\x00"):
        lines = block.split("\x00")
        if "bare" in lines or not lines[0].startswith("worktree "):
            continue
        if any(line.startswith("prunable") for line in lines):
            continue
        names = [line[len("branch refs/heads/") :] for line in lines if line.startswith("branch ")]
        path = Path(lines[0].removeprefix("worktree "))
        found.append(Checkout(path, names[0] if names else None))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class CheckoutState:
    """What keeps a checkout from following its branch: changed tracked files, an operation."""

    dirty: tuple[str, ...]
    operation: str | None


_OPERATIONS = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
    "index.lock": "git command (it holds index.lock)",
}


async def checkout_state(target: Target, checkout: Checkout, home: Path) -> CheckoutState:
    """Whether a work tree of the target is clean, as git sees it without any filter.

    Raises Refused when the work tree does not belong to the target.
    """
    git = target.git(home, checkout.path)
    try:
        ran = await git.run("rev-parse", "--path-format=absolute", "--git-common-dir", "--git-dir")
        places = ran.stdout.decode(errors="surrogateescape").rstrip("\n").split("\n")
    except (GitFailed, NotADirectoryError):
        places = [""]
    if Path(places[0]) != target.git_dir:
        raise Refused(f"{checkout.path} is not a work tree of {target.shown}.", where="repository")
    listed = await git.run(
        "status", "--porcelain=v1", "-z", "--untracked-files=no", "--ignore-submodules=all",
        "--no-renames",
    )  # fmt: skip
    entries = listed.stdout.decode(errors="surrogateescape").split("\x00")
    operation = await asyncio.to_thread(_operation, Path(places[-1]))
    return CheckoutState(tuple(entry[3:] for entry in entries if entry), operation)


def _operation(git_dir: Path) -> str | None:
    found = (name for marker, name in _OPERATIONS.items() if (git_dir / marker).exists())
    return next(found, None)
