"""Starting a confined process and holding on to it: streams, its end, and the end of its tree."""

from __future__ import annotations

import asyncio
import marshal
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from quarterdeck.confine import prepare
from quarterdeck.confine.level import LevelReport, probe, require
from quarterdeck.confine.policy import Confinement, Level, StoppedBy
from quarterdeck.confine.result import Ending
from quarterdeck.confine.spec import Ended, Spec
from quarterdeck.core.errors import InvalidInput, NotFound, Unavailable

_LAUNCHER = Path(__file__).parent / "launcher" / "start.py"
_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 10.0
T = TypeVar("T")
LINE_BYTES_MAX = 16 * 1024 * 1024


class _Control(asyncio.Protocol):
    """The launcher's messages: one when the command has started, one when its tree is gone."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[dict[str, Any] | None] = loop.create_future()
        self.ended: asyncio.Future[Ended | None] = loop.create_future()
        self._received = bytearray()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 4:
            size = int.from_bytes(self._received[:4], "little")
            if len(self._received) < 4 + size:
                return
            # the launcher is our own program; the confined command cannot reach this socket
            message = marshal.loads(bytes(self._received[4 : 4 + size]))  # noqa: S302 - from our launcher alone
            del self._received[: 4 + size]
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "ended" in message:
            _settle(self.ended, message["ended"])
        else:
            _settle(self.started, message)

    def eof_received(self) -> None:
        _settle(self.started, None)
        _settle(self.ended, None)

    def connection_lost(self, exc: Exception | None) -> None:
        _settle(self.started, None)
        _settle(self.ended, None)


def _settle(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


@dataclass(frozen=True, slots=True)
class Private:
    """The command's HOME and TMPDIR; `made` is what must be removed after the run."""

    home: Path
    tmp: Path
    made: Path | None

    def remove(self) -> None:
        """Remove what was made for this run, whatever the command left in there."""
        if self.made is not None:
            _unlock(self.made)
            shutil.rmtree(self.made, ignore_errors=True)


def _unlock(root: Path) -> None:
    """Make every directory below passable again, so that it can be removed."""
    for folder, names, _ in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)


def _private(confinement: Confinement) -> Private:
    made: Path | None = None
    given = {"home": confinement.home, "tmp": confinement.tmp}
    if None in given.values():
        made = Path(tempfile.mkdtemp(prefix="qd-"))
    places = {}
    for name, path in given.items():
        if path is None:
            assert made is not None
            path = made / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        places[name] = path
    return Private(places["home"], places["tmp"], made)


class ConfinedProcess:
    """A running confined command for callers that talk with it over its streams.

    Use it with `async with`: on leaving, the whole tree is dead and everything is closed.
    `stdout` and `stderr` must be read, or the command waits. `pid` is the launcher's.
    """

    def __init__(self, private: Private, level: Level) -> None:
        self._private = private
        self._began_s = time.monotonic()
        self._duration_s: float | None = None
        self._reason: StoppedBy | None = None
        self._control: _Control
        self._control_transport: asyncio.Transport
        self._launcher: asyncio.subprocess.Process | None = None
        self._pipes: list[asyncio.BaseTransport] = []
        self.level = level
        self.stdin: asyncio.StreamWriter
        self.stdout: asyncio.StreamReader
        self.stderr: asyncio.StreamReader

    @property
    def pid(self) -> int:
        assert self._launcher is not None, "it has been launched"
        return self._launcher.pid

    async def wait(self) -> Ending:
        """Wait until the command and every process it started are gone; may be called again."""
        told = await asyncio.shield(self._control.ended)
        if self._duration_s is None:
            self._duration_s = time.monotonic() - self._began_s
        duration_s = self._duration_s
        if told is None:
            return Ending(None, None, StoppedBy.KILLED, duration_s, 0.0, 0, 0, self.level)
        by = told["stopped_by"]
        reason = StoppedBy(by) if by else None
        return Ending(
            exit_code=told["exit_code"],
            signal=told["signal"],
            stopped_by=self._reason if reason is StoppedBy.KILLED and self._reason else reason,
            duration_s=duration_s,
            cpu_s=told["cpu_s"],
            memory_peak_bytes=told["memory_peak_bytes"],
            processes_peak=told["processes_peak"],
            level=self.level,
        )

    def kill(self, reason: StoppedBy = StoppedBy.KILLED) -> None:
        """End the whole tree; returns at once, `wait` tells when it is gone."""
        if self._reason is None:
            self._reason = reason
        if not self._control_transport.is_closing() and self._control_transport.can_write_eof():
            self._control_transport.write_eof()

    async def aclose(self) -> None:
        """End the tree, wait for its end, close the streams, remove what was made for the run."""
        if self._launcher is not None:
            self.kill()
            try:
                async with asyncio.timeout(_END_TIMEOUT_S):
                    await asyncio.shield(self._control.ended)
            except TimeoutError:
                self._launcher.kill()
            for pipe in self._pipes:
                pipe.close()
            self._control_transport.close()
            await self._launcher.wait()
        await asyncio.to_thread(self._private.remove)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await finish(self.aclose())

    # ------------------------------------------------------------------- start

    async def launch(self, spec: Spec, line_bytes: int) -> None:
        """Start the launcher and give it its orders; not to be cancelled halfway (`finish`)."""
        ours, theirs = socket.socketpair()
        pipes = [os.pipe(), os.pipe(), os.pipe()]
        (stdin, stdin_w), (stdout_r, stdout), (stderr_r, stderr) = pipes
        try:
            launcher = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", str(_LAUNCHER), str(theirs.fileno())),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(theirs.fileno(),),
                env={k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"},
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            for fd in (stdin_w, stdout_r, stderr_r):
                os.close(fd)
            raise
        finally:
            theirs.close()
            for fd in (stdin, stdout, stderr):
                os.close(fd)
        loop = asyncio.get_running_loop()
        self._control_transport, self._control = await loop.create_connection(_Control, sock=ours)
        self._launcher = launcher
        content = marshal.dumps(cast("dict[str, Any]", spec))
        self._control_transport.write(len(content).to_bytes(4, "little") + content)
        self.stdin = await self._writer(stdin_w)
        self.stdout = await self._reader(stdout_r, line_bytes)
        self.stderr = await self._reader(stderr_r, line_bytes)

    async def _reader(self, fd: int, line_bytes: int) -> asyncio.StreamReader:
        reader = asyncio.StreamReader(limit=line_bytes)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
        )
        self._pipes.append(transport)
        return reader

    async def _writer(self, fd: int) -> asyncio.StreamWriter:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()),
            os.fdopen(fd, "wb", buffering=0),
        )
        self._pipes.append(transport)
        return asyncio.StreamWriter(transport, protocol, None, loop)

    async def begun(self, argv: Sequence[str]) -> None:
        """Wait until the command runs, confined; raises why it does not."""
        async with asyncio.timeout(_START_TIMEOUT_S):  # wait_for can swallow a cancellation
            told = await asyncio.shield(self._control.started)
        if told is None:
            raise Unavailable("The launcher of confined commands ended at once.", where=argv[0])
        if "failed" in told:
            raise _failure(argv, *told["failed"])
        if told["namespaces"] and self.level is Level.PROCESS:
            self.level = Level.NAMESPACE


def _failure(
    argv: Sequence[str], stage: str, number: int, text: str, name: str | None
) -> Exception:
    if stage == "exec" and isinstance(_os_error(number), FileNotFoundError):
        return NotFound(
            f"There is no program {argv[0]!r}.",
            where="argv",
            hint="It must be installed and lie in the toolchain or a readable place.",
        )
    if stage == "exec":
        return InvalidInput(
            f"{argv[0]!r} cannot be run: {os.strerror(number)}.",
            where="argv",
            hint="It must be executable and lie in the toolchain or a readable place.",
        )
    if stage == "cwd":
        return InvalidInput(f"{name!r} cannot be entered: {os.strerror(number)}.", where="cwd")
    return Unavailable(f"The command could not be confined ({stage}): {text}.", where=argv[0])


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


async def finish(work: Awaitable[T], undo: Callable[[T], object] | None = None) -> T:
    """Await `work` to its end even if the caller is cancelled meanwhile, then pass that on.

    `undo` is given the result that a cancelled caller will never see.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    result = task.result()
    if cancelled:
        if undo:
            undo(result)
        raise cancelled
    return result


async def start_command(
    argv: Sequence[str],
    *,
    cwd: Path,
    confinement: Confinement,
    env: Mapping[str, str] | None = None,
    line_bytes_max: int = LINE_BYTES_MAX,
) -> ConfinedProcess:
    """Start a confined command and return while it runs.

    `env` is added to the cleared environment (PATH, HOME, TMPDIR, LANG). `line_bytes_max` bounds
    what the readers buffer. The caller must `aclose` it, best by `async with`.

    Raises:
        Unavailable: when this machine cannot confine as asked (see `probe`).
        InvalidInput: when an argument, the directory or a path of the confinement is unusable.
        NotFound: when there is no such program.
    """
    return await start_at(
        probe(), argv, cwd=cwd, confinement=confinement, env=env, line_bytes_max=line_bytes_max
    )


async def start_at(
    report: LevelReport,
    argv: Sequence[str],
    *,
    cwd: Path,
    confinement: Confinement,
    env: Mapping[str, str] | None = None,
    line_bytes_max: int = LINE_BYTES_MAX,
) -> ConfinedProcess:
    """`start_command` on a machine that can do what `report` says, or less than it could."""
    require(report, allow_weak=confinement.allow_weak, inet=confinement.network.inet)
    private, spec = await finish(
        asyncio.to_thread(_prepared, report, argv, cwd, confinement, dict(env or {})),
        undo=lambda prepared: prepared[0].remove(),
    )
    process = ConfinedProcess(private, Level.PROCESS if report.landlock_abi else Level.WEAK)
    try:
        await finish(process.launch(spec, line_bytes_max))
        await process.begun(argv)
    except BaseException:
        await finish(process.aclose())
        raise
    return process


def _prepared(
    report: LevelReport,
    argv: Sequence[str],
    cwd: Path,
    confinement: Confinement,
    env: Mapping[str, str],
) -> tuple[Private, Spec]:
    prepare.check(argv, cwd, env)
    private = _private(confinement)
    try:
        spec = prepare.spec(
            argv,
            cwd=cwd,
            env=prepare.environment(env, private.home, private.tmp),
            confinement=confinement,
            writable=dict.fromkeys((*confinement.writable, private.home, private.tmp)),
            made=private.made,
            report=report,
        )
    except BaseException:
        private.remove()
        raise
    return private, spec
