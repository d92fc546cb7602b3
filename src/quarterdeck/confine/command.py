"""Running a confined command to its end and collecting what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from quarterdeck.confine.output import CappedOutput
from quarterdeck.confine.policy import Confinement, StoppedBy
from quarterdeck.confine.process import ConfinedProcess, start_command
from quarterdeck.confine.result import CommandResult, Ending
from quarterdeck.core.errors import InvalidInput

_CHUNK_BYTES = 65_536
_DRAIN_TIMEOUT_S = 2.0


class _Collected:
    """The three views of what a command said, and the stop when it says too much."""

    def __init__(
        self,
        process: ConfinedProcess,
        confinement: Confinement,
        on_output: Callable[[bytes], None] | None,
    ) -> None:
        limit = confinement.limits.output_bytes
        self._process = process
        self._stop_bytes = confinement.limits.output_stop_bytes
        self._on_output = on_output
        self.output, self.stdout, self.stderr = (CappedOutput(limit) for _ in range(3))

    async def read(self, stream: asyncio.StreamReader, own: CappedOutput) -> None:
        """Read one stream to its end, never letting the command wait."""
        while piece := await stream.read(_CHUNK_BYTES):
            own.add(piece)
            self.output.add(piece)
            if self._on_output:
                self._on_output(piece)
            if self.output.seen_bytes > self._stop_bytes:
                self._process.kill(StoppedBy.OUTPUT)

    def result(self, ending: Ending) -> CommandResult:
        views = (self.output, self.stdout, self.stderr)
        return CommandResult(
            exit_code=ending.exit_code,
            signal=ending.signal,
            stopped_by=ending.stopped_by,
            duration_s=ending.duration_s,
            cpu_s=ending.cpu_s,
            memory_peak_bytes=ending.memory_peak_bytes,
            processes_peak=ending.processes_peak,
            level=ending.level,
            output=self.output.text(),
            stdout=self.stdout.text(),
            stderr=self.stderr.text(),
            truncated=any(view.dropped_bytes for view in views),
            output_bytes=self.output.seen_bytes,
        )


async def run_command(
    argv: Sequence[str],
    *,
    cwd: Path,
    confinement: Confinement,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    on_output: Callable[[bytes], None] | None = None,
) -> CommandResult:
    """Run a command confined and wait until it and everything it started is gone.

    A command that fails, is stopped by a limit or times out is a result, not an error. Being
    cancelled ends the whole tree before this returns. `on_output` gets each piece as it arrives,
    on the event loop; what it raises ends the command and is passed on.

    Raises:
        Unavailable: when this machine cannot confine as asked (see `probe`).
        InvalidInput: when an argument, the directory or a path of the confinement is unusable.
        NotFound: when there is no such program.
    """
    if timeout_s <= 0:
        raise InvalidInput(
            f"{timeout_s} is not a duration.", where="timeout_s", hint="Give more than 0."
        )
    process = await start_command(
        argv, cwd=cwd, confinement=confinement, env=env, line_bytes_max=_CHUNK_BYTES
    )
    async with process:
        alarm = asyncio.get_running_loop().call_later(timeout_s, process.kill, StoppedBy.TIMEOUT)
        try:
            return await _attended(process, _Collected(process, confinement, on_output), stdin)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            alarm.cancel()


async def _attended(process: ConfinedProcess, said: _Collected, stdin: bytes) -> CommandResult:
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(_feed(process, stdin))
        reading = [
            group.create_task(said.read(process.stdout, said.stdout)),
            group.create_task(said.read(process.stderr, said.stderr)),
        ]
        ending = await process.wait()
        feeding.cancel()
        # the tree is gone, so the streams end now, unless an outsider was given one of them
        _, unended = await asyncio.wait(reading, timeout=_DRAIN_TIMEOUT_S)
        for task in unended:
            task.cancel()
    return said.result(ending)


async def _feed(process: ConfinedProcess, content: bytes) -> None:
    try:
        if content:
            process.stdin.write(content)
            await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        return  # the command does not want it
    finally:
        process.stdin.close()
