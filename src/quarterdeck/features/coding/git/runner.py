"""Run the git command line with our configuration only, bounded in time and output."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quarterdeck.core.errors import NotFound, StepFailed, Unavailable
from quarterdeck.features.coding.git.configuration import (
    EXACT,
    HARMLESS,
    Settings,
    environment,
)

TIMEOUT_S = 120.0
TRANSFER_TIMEOUT_S = 900.0
OUTPUT_MAX_BYTES = 128 * 1024 * 1024
STDERR_MAX_BYTES = 64 * 1024
GRACE_S = 5.0
GIT_MIN = (2, 38)

_PREFIX = re.compile(r"^(?:fatal|error|remote|warning): *")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_PASSED_ON = ("PATH", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR")


class GitFailed(StepFailed):
    """A git command failed; `line` is the first line of its complaint that says why.

    `command` is the subcommand, `exit_code` None when it ran out of time (then worth a retry).
    """

    def __init__(self, command: str, line: str, *, exit_code: int | None) -> None:
        super().__init__(f"git {command}: {line}", where="git", retry=exit_code is None)
        self.command = command
        self.line = line
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Ran:
    """How a git command ended; `truncated` when its output went over the limit and was cut."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    truncated: bool = False

    @property
    def text(self) -> str:
        """The output as one stripped line of text."""
        return self.stdout.decode(errors="replace").strip()


@dataclass(frozen=True, slots=True)
class Git:
    """Git in one repository, with our configuration, an own HOME and no terminal.

    `git_dir` is the server's own; without it git looks in `cwd` alone, never above it. `index`
    and `work_tree` are given where a command needs them.
    """

    home: Path
    git_dir: Path | None = None
    work_tree: Path | None = None
    index: Path | None = None
    cwd: Path | None = None
    settings: Settings = HARMLESS + EXACT
    extra: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The whole environment of the process; nothing else of ours is passed on."""
        variables = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        variables |= fixed_environment(self.home)
        variables |= environment(self.settings)
        if self.git_dir is not None:
            variables["GIT_DIR"] = str(self.git_dir)
        elif self.cwd is not None:
            variables["GIT_CEILING_DIRECTORIES"] = str(self.cwd.parent)
        if self.work_tree is not None:
            variables["GIT_WORK_TREE"] = str(self.work_tree)
        if self.index is not None:
            variables["GIT_INDEX_FILE"] = str(self.index)
        return variables | dict(self.extra)

    async def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        accept: tuple[int, ...] = (0,),
        timeout_s: float = TIMEOUT_S,
        output_max_bytes: int = OUTPUT_MAX_BYTES,
        cut: bool = False,
    ) -> Ran:
        """Run `git ARGUMENTS`; raise `GitFailed` unless it exits with a code in `accept`.

        Output over `output_max_bytes` ends the command: cut and marked if `cut`, else an error.
        """
        process = await self._start(arguments)
        try:
            async with asyncio.timeout(timeout_s):
                stdout, stderr, truncated = await _exchange(process, stdin, output_max_bytes)
                exit_code = await process.wait()
        except TimeoutError:
            line = f"it did not finish within {timeout_s:g} s"
            raise GitFailed(arguments[0], line, exit_code=None) from None
        finally:
            await _stop(process)
        ran = Ran(exit_code, stdout, stderr, truncated)
        if truncated and not cut:
            line = f"its output is over {output_max_bytes} bytes"
            raise GitFailed(arguments[0], line, exit_code=exit_code)
        if not truncated and exit_code not in accept:
            raise GitFailed(arguments[0], complaint(stderr), exit_code=exit_code)
        return ran

    async def text(self, *arguments: str, stdin: bytes = b"") -> str:
        """The stripped output of a command that must succeed."""
        return (await self.run(*arguments, stdin=stdin)).text

    async def _start(self, arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
        assert not any("\x00" in argument for argument in arguments)
        try:
            return await asyncio.create_subprocess_exec(
                "git",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self.environment(),
                cwd=self.cwd or self.work_tree or self.git_dir or self.home,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            if error.filename not in (None, "git"):
                raise NotFound("The directory is gone.", where=str(error.filename)) from None
            hint = "Install git 2.38 or newer."
            raise Unavailable("The program git was not found.", hint=hint) from None


def fixed_environment(home: Path) -> dict[str, str]:
    """The variables that hold for every git process, also at the other end of a transport."""
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LC_ALL": "C",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_COMMITTER_NAME": "Quarterdeck",
        "GIT_COMMITTER_EMAIL": "quarterdeck@localhost",
    }


def complaint(stderr: bytes) -> str:
    """The first line of git's complaint that says why, without prefix and credentials."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))]
    line = _PREFIX.sub("", (telling or lines or ["it gave no reason"])[0])
    return hide_credentials(line)[:300]


def hide_credentials(text: str) -> str:
    """The text with user and password taken out of every URL in it."""
    return _CREDENTIALS.sub("", text)


async def check_version(git: Git) -> None:
    """Raise `Unavailable` unless git is new enough to merge without a checkout."""
    shown = await git.text("version")
    found = re.search(r"(\d+)\.(\d+)", shown)
    if found is None or (int(found[1]), int(found[2])) < GIT_MIN:
        wanted = ".".join(str(part) for part in GIT_MIN)
        raise Unavailable(f"{shown} is too old.", hint=f"Install git {wanted} or newer.")


async def _exchange(
    process: asyncio.subprocess.Process, stdin: bytes, limit: int
) -> tuple[bytes, bytes, bool]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_feed(process.stdin, stdin))
        out = tasks.create_task(_read(process.stdout, limit, process))
        err = tasks.create_task(_read(process.stderr, STDERR_MAX_BYTES, None))
    stdout, truncated = out.result()
    return stdout, err.result()[0], truncated


async def _feed(stream: asyncio.StreamWriter, content: bytes) -> None:
    try:
        stream.write(content)
        await stream.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # git has stopped reading; its exit code says whether that matters
    finally:
        stream.close()


async def _read(
    stream: asyncio.StreamReader, limit: int, ends: asyncio.subprocess.Process | None
) -> tuple[bytes, bool]:
    """Read to the end, keep `limit` bytes; going over the limit ends the process given."""
    chunks: list[bytes] = []
    size = 0
    while chunk := await stream.read(1 << 18):
        if size <= limit:
            chunks.append(chunk)
            size += len(chunk)
            if size > limit and ends is not None:
                _signal(ends, signal.SIGTERM)
    return b"".join(chunks)[:limit], size > limit


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass  # it has just ended by itself


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the process and its children; first gently, so that git takes its lock files away."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        _signal(process, number)
        try:
            async with asyncio.timeout(GRACE_S):
                await process.communicate()  # an unread pipe would keep the exit from being seen
        except TimeoutError:
            continue
