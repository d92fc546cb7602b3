"""The terminals of an agent: confined commands with a bounded, readable output."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from quarterdeck.confine import CommandResult, Confinement, run_command
from quarterdeck.core.errors import Conflict, NotFound, QuarterdeckError

TERMINALS_MAX = 16
OUTPUT_MAX_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended, as the protocol says it: a code, or the name of a signal."""

    code: int | None
    signal: str | None


KILLED = Exit(None, "SIGKILL")
NOT_FOUND = 127
"""What shells answer for a command that cannot be started."""


class Terminal:
    """One running or finished command."""

    def __init__(self, *, output_max_bytes: int) -> None:
        self._output = bytearray()
        self._output_max = output_max_bytes
        self.truncated = False
        self.exit: Exit | None = None
        self.task: asyncio.Task[None] | None = None

    def take(self, chunk: bytes) -> None:
        """Keep output; over the limit the oldest is dropped, as the protocol asks."""
        self._output += chunk
        if len(self._output) > self._output_max:
            self.truncated = True
            del self._output[: len(self._output) - self._output_max]

    @property
    def output(self) -> str:
        kept = bytes(self._output)
        if self.truncated:
            # Start at a character: skip what is left of one that was cut.
            kept = kept.lstrip(bytes(range(0x80, 0xC0)))
        return kept.decode(errors="replace")


class Terminals:
    """Starts commands below one confinement and forgets none of them."""

    def __init__(self, confinement: Confinement, *, timeout_s: float) -> None:
        self._confinement = confinement
        self._timeout_s = timeout_s
        self._ids = (f"terminal-{number}" for number in itertools.count(1))
        self._open: dict[str, Terminal] = {}

    @property
    def busy(self) -> bool:
        """Whether a command is running, so that the agent may be waiting for it."""
        return any(terminal.exit is None for terminal in self._open.values())

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output_max_bytes: int | None,
    ) -> str:
        """Start a command; `Conflict` when `TERMINALS_MAX` are open."""
        if len(self._open) >= TERMINALS_MAX:
            raise Conflict(f"{TERMINALS_MAX} terminals are open.", hint="Release one first.")
        limit = OUTPUT_MAX_BYTES if output_max_bytes is None else output_max_bytes
        terminal = Terminal(output_max_bytes=min(limit, OUTPUT_MAX_BYTES))
        # Owned by this object: `close` cancels and awaits it.
        terminal.task = asyncio.get_running_loop().create_task(
            self._run(terminal, argv, cwd=cwd, env=env)
        )
        name = next(self._ids)
        self._open[name] = terminal
        return name

    def get(self, name: str) -> Terminal:
        """The terminal; `NotFound` when it is not open."""
        if (terminal := self._open.get(name)) is None:
            raise NotFound(f"There is no terminal {name[:80]!r}.")
        return terminal

    async def wait(self, name: str) -> Exit:
        """How it ended, once it has."""
        terminal = self.get(name)
        assert terminal.task is not None, "a terminal is opened with its task"
        await asyncio.wait({terminal.task})
        return terminal.exit or KILLED

    async def kill(self, name: str) -> None:
        """End the command; its output can still be read."""
        await _end(self.get(name))

    async def release(self, name: str) -> None:
        """End the command and forget the terminal."""
        await self.kill(name)
        del self._open[name]

    async def close(self) -> None:
        """End every command."""
        await asyncio.gather(*(_end(terminal) for terminal in self._open.values()))
        self._open.clear()

    async def _run(
        self, terminal: Terminal, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]
    ) -> None:
        try:
            result = await run_command(
                argv,
                cwd=cwd,
                confinement=self._confinement,
                env=env,
                timeout_s=self._timeout_s,
                on_output=terminal.take,
            )
        except QuarterdeckError as error:
            terminal.take(f"{error}\n".encode())
            terminal.exit = Exit(NOT_FOUND, None)
        else:
            terminal.exit = _exit(result)
        finally:
            terminal.exit = terminal.exit or KILLED


def _exit(result: CommandResult) -> Exit:
    if result.exit_code is None and result.signal is None:
        return KILLED
    return Exit(result.exit_code, None if result.signal is None else Signals(result.signal).name)


async def _end(terminal: Terminal) -> None:
    assert terminal.task is not None, "a terminal is opened with its task"
    terminal.task.cancel()
    await asyncio.wait({terminal.task})
