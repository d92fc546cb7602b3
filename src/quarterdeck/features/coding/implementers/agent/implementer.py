"""The built-in agent as an implementer: which model, which mode, and how a run ends."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable

from quarterdeck.core.clock import Clock, SystemClock
from quarterdeck.core.errors import InvalidInput, QuarterdeckError
from quarterdeck.core.events import Json
from quarterdeck.features.coding.implementers.agent.mode import mode_for
from quarterdeck.features.coding.implementers.agent.options import AgentOptions, Mode
from quarterdeck.features.coding.implementers.agent.testing import Bench
from quarterdeck.features.coding.implementers.agent.whole_file_mode import work_in_whole_files
from quarterdeck.features.coding.implementers.agent.workbench import Workbench
from quarterdeck.features.coding.implementers.confined import Grants
from quarterdeck.features.coding.implementers.options import WHERE, read_options
from quarterdeck.features.coding.implementers.play import Emit, failed, play
from quarterdeck.features.coding.implementers.port import (
    Finished,
    Implementer,
    ImplementerEvent,
    Status,
    Task,
    Used,
)
from quarterdeck.features.coding.implementers.progress import Progress
from quarterdeck.features.coding.implementers.tree import SandboxTree, changed_paths
from quarterdeck.llm.gateway import Gateway, OnUsage
from quarterdeck.llm.port import ModelRef, Usage

CHANGED_SHOWN = 200
TOOLS_MODE = "quarterdeck.features.coding.implementers.agent.tools_mode"


class AgentImplementer:
    """Lets a model of the gateway work in the sandbox.

    `model` is the one to use when the mission names none. `allow_cloud` is what the workspace says
    about models in the cloud. `repair` is offered to the model as a tool. `on_usage` is told about
    every call in full, next to the port's `Used`.
    """

    name = "agent"

    def __init__(
        self,
        gateway: Gateway,
        *,
        model: ModelRef | None = None,
        allow_cloud: bool = False,
        grants: Grants | None = None,
        repair: Implementer | None = None,
        on_usage: OnUsage | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._gateway = gateway
        self._model = model
        self._allow_cloud = allow_cloud
        self._grants = grants or Grants()
        self._repair = repair
        self._on_usage = on_usage
        self._clock = clock or SystemClock()

    def check(self, task: Task) -> tuple[AgentOptions, ModelRef]:
        """The options and the model; `InvalidInput` when there is none."""
        options = read_options(AgentOptions, task.options)
        model = self._model if options.model is None else ModelRef.parse(options.model)
        if model is None:
            raise InvalidInput(
                "No model is named, and the installation has none of its own.",
                where=f"{WHERE}.model",
                hint="Name one, for example ollama/qwen2.5-coder:14b.",
            )
        return options, model

    def run(self, task: Task) -> AsyncIterator[ImplementerEvent]:
        """Let the model work; see the port's promises."""
        run: Run | None = None

        async def work(emit: Emit) -> Finished:
            nonlocal run
            options, model = self.check(task)
            run = Run(task, model, emit, self._clock, grants=self._grants)
            await run.begin()
            gateway = self._gateway.reporting_to(self._reporter(emit))
            return await run.end(await self._worked(run, gateway, options))

        async def cut_short(reason: str) -> Finished:
            return await failed(reason) if run is None else await run.end(reason)

        return play(work, budget_s=task.budget_s, cut_short=cut_short)

    async def _worked(self, run: Run, gateway: Gateway, options: AgentOptions) -> str | None:
        """Work in the mode that fits; the reason when it did not come to an end of its own."""
        mode = mode_for(options.mode, run.model.name, local=gateway.is_local(run.model))
        run.evidence |= {"model": str(run.model), "mode": mode}
        run.progress.say(f"{run.model} works ({mode.replace('_', ' ')} mode).")
        try:
            if mode is Mode.TOOLS:
                # The agent library takes over a second to import: only when used, off the loop.
                tools_mode = await asyncio.to_thread(importlib.import_module, TOOLS_MODE)
                run.said = await tools_mode.work_with_tools(
                    run.task,
                    gateway,
                    run.model,
                    options,
                    self._workbench(run, options),
                    allow_cloud=self._allow_cloud,
                )
            else:
                run.said = await work_in_whole_files(
                    run.task,
                    gateway,
                    run.model,
                    options,
                    run.tree,
                    run.bench,
                    run.progress,
                    allow_cloud=self._allow_cloud,
                )
        except QuarterdeckError as error:
            return str(error)
        return None

    def _workbench(self, run: Run, options: AgentOptions) -> Workbench:
        return Workbench(
            run.task,
            run.tree,
            run.bench,
            run.progress,
            commands=options.commands,
            grants=self._grants,
            repair=self._repair if options.repair else None,
            emit=run.emit,
        )

    def _reporter(self, emit: Emit) -> Callable[[Usage], None]:
        def told(usage: Usage) -> None:
            emit(Used(str(usage.model), usage.input_tokens, usage.output_tokens, usage.duration_s))
            if self._on_usage is not None:
                self._on_usage(usage)

        return told


class Run:
    """What one run knows about itself."""

    def __init__(
        self, task: Task, model: ModelRef, emit: Emit, clock: Clock, *, grants: Grants
    ) -> None:
        self.task = task
        self.model = model
        self.emit = emit
        self.tree = SandboxTree(task.path)
        self.bench = Bench(task, self.tree, grants)
        self.progress = Progress(emit, clock)
        self.said = ""
        self.evidence: dict[str, Json] = {}
        self._before: dict[str, str] | None = None

    async def begin(self) -> None:
        """Note the files as they are."""
        self._before = await asyncio.to_thread(self.tree.snapshot)

    async def end(self, reason: str | None) -> Finished:
        """The last event. Green tests count as a success even when the budget ended the run."""
        self.progress.flush()
        changed = [] if self._before is None else await asyncio.to_thread(self._changed)
        tested = self.bench.last
        green = tested is not None and tested.green
        evidence = {
            **self.evidence,
            "changed": changed[:CHANGED_SHOWN],
            "tests": None if tested is None else tested.counts() | {"green": green},
        }
        if reason is not None and not (green and changed):
            return Finished(Status.FAILED, reason, evidence, self._handover(reason, changed))
        status = Status.CHANGED if changed else Status.UNCHANGED
        summary = self.said or reason or "The agent has finished."
        return Finished(status, summary[:2_000], evidence, self._handover(reason, changed))

    def _changed(self) -> list[str]:
        return changed_paths(self._before or {}, self.tree.snapshot())

    def _handover(self, reason: str | None, changed: list[str]) -> dict[str, Json]:
        tested = self.bench.last
        return {
            "reason": reason,
            "changed": changed[:CHANGED_SHOWN],
            "failing": sorted(tested.round.failing)[:CHANGED_SHOWN] if tested else None,
            "output": tested.output[-4_000:] if tested and not tested.green else None,
        }
