"""Moves one mission for as long as anything in it can move, then lets go of it.

The driver owns the mission's `Run`. Every change is an event: put in line for the disk and applied
to the run in the same breath, so that the run is always the fold of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from quarterdeck.core.clock import iso
from quarterdeck.core.conditions import evaluate
from quarterdeck.core.errors import InvalidCondition, Unavailable
from quarterdeck.core.events import EventType, Json
from quarterdeck.core.ids import SYSTEM
from quarterdeck.core.plan import StepSpec
from quarterdeck.core.run import (
    ENDED,
    SATISFIED,
    Run,
    Status,
    apply,
    completed_phases,
    ending,
    ready,
    unreachable,
)
from quarterdeck.core.step import Choice, Done, Effect, StepKind, Wait
from quarterdeck.engine.attempt import Failed, Result, attempt, question_of
from quarterdeck.engine.context import StepContext
from quarterdeck.engine.workshop import Workshop
from quarterdeck.storage.log import Commit
from quarterdeck.storage.missions import mission_row, step_row

DISK_RETRY_S = 0.5

REVIEW = Wait(
    "The process died while this step was changing something outside. What is true now?",
    (
        Choice("again", "It did not happen: run the step again"),
        Choice("fail", "Stop here: mark the step failed"),
    ),
)


class Driver:
    """One mission in motion."""

    def __init__(self, workshop: Workshop, run: Run) -> None:
        self.run = run
        self._workshop = workshop
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    def nudge(self) -> None:
        """Something was applied to the run from outside; look again."""
        self._changed.set()

    async def drive(self) -> None:
        """Move until nothing moves by itself; returns with everything durable."""
        await self._recover()
        try:
            while True:
                self._changed.clear()
                await self._settle()
                self._start_ready()
                if not self._tasks and not self._changed.is_set():
                    return
                await self._changed.wait()
        finally:
            await self._stop_tasks()

    async def _recover(self) -> None:
        """Steps that were running when the process died are interrupted, not failed."""
        for step_id in self.run.in_status(Status.RUNNING):
            kind = self._workshop.kind_of(self.run.spec(step_id))
            await self._record(EventType.STEP_INTERRUPTED, step_id, {})
            if kind is not None and kind.effect is Effect.EXTERNAL:
                await self._record(
                    EventType.STEP_WAITING, step_id, {"question": question_of(REVIEW)}
                )
        for step_id in self.run.in_status(Status.BLOCKED):
            if self._workshop.kind_of(self.run.spec(step_id)) is not None:
                await self._record(EventType.STEP_UNBLOCKED, step_id, {})

    async def _settle(self) -> None:
        """Record what follows from the present state: skips, phases, cancellation, the end."""
        run = self.run
        if run.status in ENDED:
            return
        if run.cancelling:
            await self._cancel_rest()
        for spec in ready(run):
            await self._decide(spec)
        for step_id, cause in unreachable(run).items():
            reason = f"{cause} did not succeed"
            await self._record(EventType.STEP_SKIPPED, step_id, {"reason": reason})
        for phase in completed_phases(run):
            await self._record(EventType.MISSION_PHASE_COMPLETED, None, {"phase": phase})
        end = ending(run)
        if end is not None:
            status, error = end
            data = {"status": status.value, "outcome": _outcome(run), "error": error}
            await self._record(EventType.MISSION_FINISHED, None, data)

    async def _cancel_rest(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await self._stop_tasks()
        for step_id, state in self.run.steps.items():
            if state.status not in ENDED:
                await self._record(EventType.STEP_CANCELLED, step_id, {"reason": "cancelled"})

    async def _decide(self, spec: StepSpec) -> None:
        """Skip, block or fail a ready step that must not start."""
        if self._workshop.kind_of(spec) is None:
            reason = f"this build does not know the step kind {spec.kind}@{spec.version}"
            await self._record(EventType.STEP_BLOCKED, spec.id, {"reason": reason})
            return
        if spec.when is None or self.run.steps[spec.id].answers:
            return
        try:
            holds = evaluate(spec.when, _names(self.run), where=f"steps.{spec.id}.when")
        except InvalidCondition as error:
            await self._record(EventType.STEP_FAILED, spec.id, {"error": str(error)})
            return
        if not holds:
            reason = f"the condition {spec.when!r} does not hold"
            await self._record(EventType.STEP_SKIPPED, spec.id, {"reason": reason})

    def _start_ready(self) -> None:
        now = iso(self._workshop.clock.now())
        for spec in ready(self.run):
            state = self.run.steps[spec.id]
            if spec.id in self._tasks or (state.wake_at is not None and state.wake_at > now):
                continue
            kind = self._workshop.kind_of(spec)
            assert kind is not None, "unknown kinds are blocked before"
            self._tasks[spec.id] = self._workshop.spawn(
                self._step(spec, kind), name=f"{self.run.mission.id}:{spec.id}"
            )

    async def _step(self, spec: StepSpec, kind: StepKind[StepContext]) -> None:
        """One attempt, from its start to its recorded result."""
        try:
            async with self._workshop.slot(kind):
                intent = kind.effect is Effect.EXTERNAL
                await self._record(EventType.STEP_STARTED, spec.id, {}, wait=intent)
                context = self._workshop.context(self.run, spec)
                result = await attempt(kind, spec, context)
                await self._conclude(spec, kind, result)
        finally:
            self._tasks.pop(spec.id, None)
            self._changed.set()

    async def _conclude(self, spec: StepSpec, kind: StepKind[StepContext], result: Result) -> None:
        match result:
            case Done():
                data: dict[str, Json] = {"outputs": dict(result.outputs)}
                if result.patch is not None:
                    data["patch"] = result.patch.model_dump(mode="json")
                await self._record(EventType.STEP_FINISHED, spec.id, data)
            case Wait():
                wake_at = None if result.until_s is None else self._later(result.until_s)
                data = {"question": question_of(result), "wake_at": wake_at}
                await self._record(EventType.STEP_WAITING, spec.id, data)
            case Failed():
                await self._failed(spec, kind, result)

    async def _failed(self, spec: StepSpec, kind: StepKind[StepContext], result: Failed) -> None:
        failures = self.run.steps[spec.id].failures + 1
        again = result.retry and failures < (spec.attempts_max or kind.attempts_max)
        retry_at = self._later(kind.retry_after_s(failures)) if again else None
        if result.trace is not None:
            self._workshop.report(f"{self.run.mission.id}:{spec.id}: {result.trace}")
        data = {"error": result.error, "retry_at": retry_at}
        await self._record(EventType.STEP_FAILED, spec.id, data)

    def _later(self, seconds: float) -> str:
        return iso(self._workshop.clock.now() + timedelta(seconds=seconds))

    async def _record(
        self, type: EventType, step: str | None, data: Mapping[str, Json], *, wait: bool = True
    ) -> None:
        """Apply one event and make it durable; a sick disk delays it but does not lose it."""
        stored = await self._workshop.slimmed(data)
        actor = f"agent:{step}" if step else SYSTEM
        event = self._workshop.event(self.run, type, actor, stored, step=step)
        apply(self.run, event if stored is data else replace(event, data=data))
        commit = Commit([event], [mission_row(self.run, self._workshop.weights(self.run))])
        if step is not None:
            commit.rows.append(step_row(self.run, step))
        if not wait:
            self._workshop.log.append(commit)
            return
        while True:
            try:
                await self._workshop.log.commit(commit)
                return
            except Unavailable as error:
                self._workshop.report(str(error))
                await asyncio.sleep(DISK_RETRY_S)

    async def _stop_tasks(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _names(run: Run) -> dict[str, Json]:
    """What a condition may read: the mission, and of each step that is over its outputs and
    whether it was `skipped`."""
    mission = run.mission
    facts = {
        "auto_implement": mission.auto_implement,
        "hold": mission.hold,
        "severity": mission.severity.value,
        "constraints": mission.constraints,
    }
    over = {
        step_id: {**state.outputs, "skipped": state.status is Status.SKIPPED}
        for step_id, state in run.steps.items()
        if state.status in SATISFIED
    }
    return {**over, "mission": facts}


def _outcome(run: Run) -> str | None:
    """The result in one word, as the last step that names one has it."""
    words = [run.steps[spec.id].outputs.get("outcome") for spec in run.plan.steps]
    return next((str(word) for word in reversed(words) if word), None)
