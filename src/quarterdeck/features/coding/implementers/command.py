"""Any command as an implementer: a codemod, a formatter, a script of the team."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated

from pydantic import Field

from quarterdeck.confine import CommandResult, run_command
from quarterdeck.core.clock import Clock, SystemClock
from quarterdeck.core.events import Json
from quarterdeck.features.coding.implementers.confined import Grants, confinement_of, fill_in
from quarterdeck.features.coding.implementers.options import Argv, Env, Options, read_options
from quarterdeck.features.coding.implementers.play import Emit, play
from quarterdeck.features.coding.implementers.port import (
    Finished,
    ImplementerEvent,
    Status,
    Task,
)
from quarterdeck.features.coding.implementers.progress import OutputLines, Progress
from quarterdeck.features.coding.implementers.tree import SandboxTree, changed_paths


class CommandOptions(Options):
    """The command, with `{path}` for the sandbox's path, and how long it may take.

    It runs in the sandbox with `env` and nothing else of the server's environment, without network.
    """

    argv: Argv
    env: Env = Field(default_factory=dict)
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None


class CommandImplementer:
    """Runs the command of the mission's options, confined; exit code 0 is all it can promise."""

    name = "command"

    def __init__(self, *, grants: Grants | None = None, clock: Clock | None = None) -> None:
        self._grants = grants or Grants()
        self._clock = clock or SystemClock()

    def check(self, task: Task) -> CommandOptions:
        """The task's options; `InvalidInput` when they do not fit."""
        return read_options(CommandOptions, task.options)

    def run(self, task: Task) -> AsyncIterator[ImplementerEvent]:
        """Run the command; see the port's promises."""

        async def work(emit: Emit) -> Finished:
            options = self.check(task)
            tree = SandboxTree(task.path)
            before = await asyncio.to_thread(tree.snapshot)
            lines = OutputLines(Progress(emit, self._clock))
            result = await self._run(task, options, lines)
            lines.end()
            changed = changed_paths(before, await asyncio.to_thread(tree.snapshot))
            return _finished(result, options, lines.tail, changed)

        # The command's own time-out says more than the budget's, so it gets to speak first.
        return play(work, budget_s=task.budget_s + CLEAN_UP_S)

    async def _run(self, task: Task, options: CommandOptions, lines: OutputLines) -> CommandResult:
        return await run_command(
            fill_in(options.argv, task),
            cwd=task.path,
            confinement=confinement_of(task, self._grants),
            env=options.env,
            timeout_s=min(options.timeout_s or task.budget_s, task.budget_s),
            on_output=lines.feed,
        )


CLEAN_UP_S = 10.0


def _finished(
    result: CommandResult, options: CommandOptions, tail: str, changed: list[str]
) -> Finished:
    evidence: Mapping[str, Json] = {
        "argv": list(options.argv),
        "exit_code": result.exit_code,
        "signal": result.signal,
        "stopped_by": result.stopped_by,
        "duration_s": round(result.duration_s, 3),
        "changed": changed[:200],
    }
    failure = _failure(result, options.argv[0])
    if failure is not None:
        return Finished(Status.FAILED, failure, evidence, {"tail": tail, "changed": changed[:200]})
    if not changed:
        return Finished(Status.UNCHANGED, "The command ran and changed nothing.", evidence)
    count = "one file" if len(changed) == 1 else f"{len(changed)} files"
    return Finished(Status.CHANGED, f"The command changed {count}.", evidence)


def _failure(result: CommandResult, program: str) -> str | None:
    if result.timed_out:
        return f"{program} was stopped after {result.duration_s:.1f} s."
    if result.stopped_by is not None:
        return f"{program} was stopped: it went over the limit {result.stopped_by}."
    if result.signal is not None:
        return f"{program} was ended by signal {result.signal}."
    if result.exit_code != 0:
        return f"{program} failed with exit code {result.exit_code}."
    return None
