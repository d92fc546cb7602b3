"""Runs the project's tests in the sandbox while an agent works; the proof is made elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from quarterdeck.core.errors import NotFound
from quarterdeck.core.events import Json
from quarterdeck.features.coding.commands import Command, Commands
from quarterdeck.features.coding.implementers.agent.rounds import (
    Round,
    error_signature,
    tree_signature,
)
from quarterdeck.features.coding.implementers.confined import Grants
from quarterdeck.features.coding.implementers.port import Task
from quarterdeck.features.coding.implementers.tree import SandboxTree
from quarterdeck.features.coding.testrun import Place, Run, Standing, run_tests

FAILING_SHOWN = 30
MESSAGE_MAX = 600


@dataclass(frozen=True, slots=True)
class Tested:
    """One run of the tests, and what it means for the agent's next step."""

    run: Run
    round: Round

    @property
    def green(self) -> bool:
        """Whether all tests ran and passed, by their report."""
        return self.run.standing is Standing.PROVED

    @property
    def headline(self) -> str:
        """One sentence that says how it went."""
        report = self.run.report
        if report is None:
            return f"The tests could not be run. {self.run.trouble or ''}".strip()
        return f"{len(report.red)} of {report.counts.total} tests fail."

    @property
    def output(self) -> str:
        """The end of what the last command printed."""
        return self.run.commands[-1].output if self.run.commands else ""

    def counts(self) -> dict[str, Json]:
        """How many tests ran and how many failed; empty when there is no report."""
        report = self.run.report
        return {} if report is None else {"total": report.counts.total, "failing": len(report.red)}

    def for_model(self, limit: int) -> str:
        """The result in words: the failing tests with their messages, and the end of the output."""
        said = [self.headline]
        if self.run.report is not None:
            for name in sorted(self.run.report.red)[:FAILING_SHOWN]:
                message = self.run.report.cases[name].message.strip()[:MESSAGE_MAX]
                said.append(f"- {name}\n{message}")
        if not self.green:
            said.append(f"The output ends:\n{self.output[-limit // 2 :]}")
        return "\n".join(said)[:limit]


class Bench:
    """Builds and tests the sandbox as the task's commands say; the set-up is done before."""

    def __init__(self, task: Task, tree: SandboxTree, grants: Grants) -> None:
        self._tree = tree
        self._commands = _within(task.commands, task.budget_s)
        self._place = Place(
            tree=task.path,
            scratch=task.work_dir,
            readable=grants.readable,
            limits=grants.limits,
            allow_weak=grants.allow_weak,
        )
        self.last: Tested | None = None

    async def test(self) -> Tested:
        """Run the tests once.

        Raises:
            NotFound: no test command is known.
        """
        if self._commands.test is None:
            raise NotFound("No test command is known for this project.")
        run = await run_tests(self._commands, self._place)
        snapshot = await asyncio.to_thread(self._tree.snapshot)
        red = run.report.red if run.report is not None else frozenset[str]()
        output = run.commands[-1].output if run.commands else ""
        self.last = Tested(run, Round(tree_signature(snapshot), red, error_signature(output)))
        return self.last


def _within(commands: Commands, budget_s: float) -> Commands:
    def bounded(command: Command | None) -> Command | None:
        if command is None:
            return None
        return replace(command, timeout_s=min(command.timeout_s, budget_s))

    return replace(commands, setup=None, build=bounded(commands.build), test=bounded(commands.test))
