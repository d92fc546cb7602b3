"""Moves one mission for as long as anything in it can move, then lets go of it.

The driver owns the mission's `Run`. Every change is an event: put in line for the disk and applied
to the run in the same breath, so that the run is always the fold of the log. Nothing awaits between
the two, so no two changes of a mission can overlap.

A worker is a task that does a step and then goes on with a step that this one made ready; a chain
of steps is one task. What a step finished, all that follows from it, and the start of the next step
are one commit, and the next handler is called when that commit is on the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from quarterdeck.core.clock import iso
from quarterdeck.core.errors import QuarterdeckError, Unavailable
from quarterdeck.core.events import EventType, Json
from quarterdeck.core.plan import StepSpec, patched
from quarterdeck.core.run import Run, Status, next_wake
from quarterdeck.core.step import Done, Effect, StepKind, Wait
from quarterdeck.engine.attempt import Failed, Result, attempt, question_of
from quarterdeck.engine.context import StepContext
from quarterdeck.engine.settle import Draft, cancel_rest, recover, settle
from quarterdeck.engine.workshop import Workshop
from quarterdeck.storage.log import Commit

DISK_RETRY_S = 0.5
CANCEL_PATIENCE_S = 0.8
"""A handler that has not stopped by then is written off; its mission is over all the same."""
STOP_PATIENCE_S = 10.0


@dataclass(slots=True, eq=False)
class _Worker:
    """A task and the step it is at; `told` is when the start of that step is durable."""

    spec: StepSpec
    kind: StepKind[StepContext]
    holds_slot: bool
    told: asyncio.Future[int] | None = None
    task: asyncio.Task[None] | None = None
    stopping: bool = False
    written_off: bool = False


class Driver:
    """One mission in motion."""

    def __init__(self, workshop: Workshop, run: Run) -> None:
        self.run = run
        self._workshop = workshop
        self._work_dir = workshop.work_dir(run.mission)
        self._workers: dict[str, _Worker] = {}
        self._told: asyncio.Future[int] | None = None
        self._stirred = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._error: BaseException | None = None
        self._moving = False

    @property
    def busy(self) -> bool:
        """Whether a step is under way."""
        return bool(self._workers)

    async def drive(self) -> None:
        """Move until nothing moves by itself; returns with everything durable.

        Raises:
            Exception: when the engine itself failed at this mission; it is as the log says.
        """
        self._moving = True
        try:
            draft = self._draft()
            recover(draft, self._workshop.kind_of, self._is_external)
            self._go(draft)
            while self._workers or not self._is_durable():
                await self._stir()
        finally:
            self._moving = False
            self._set_alarm(None)
            await self._stop_workers()

    def _is_durable(self) -> bool:
        """Whether all is on the disk; raises when the database refused it."""
        if self._told is None or self._told.cancelled():  # by another who waited for it
            self._told = self._workshop.log.keep(Commit())
        return self._told.done() and self._told.result() >= 0

    async def _stir(self) -> None:
        """Wait until a worker has ended or, when there is none, until all is durable."""
        self._stirred.clear()
        if self._error is None and self._workers:
            await self._stirred.wait()
        if self._error is not None:
            raise self._error
        if not self._workers and self._told is not None:
            await asyncio.wait((self._told,))

    def change(self, add: Callable[[Draft], None]) -> asyncio.Future[int]:
        """Record what somebody outside decided, and go on from there; tells when it is durable."""
        draft = self._draft()
        add(draft)
        if self._moving:
            return self._go(draft)
        return self._keep(draft)

    def _look(self) -> None:
        """Go on from the present state, because time has passed or a worker has stopped."""
        if not self._moving:
            return
        try:
            self._go(self._draft())
        except Exception as error:  # noqa: BLE001 - a callback; `drive` raises it
            self._break(error)

    def _draft(self) -> Draft:
        return Draft(self.run, iso(self._workshop.clock.now()))

    def _go(self, draft: Draft, worker: _Worker | None = None) -> asyncio.Future[int]:
        """Record the draft and all that follows from it, and start what may run.

        `worker` has just finished its step and takes the next one, if there is one.
        """
        if self.run.cancelling and self._workers:
            self._stop_for_cancel(list(self._workers.values()))
        elif self.run.cancelling:
            cancel_rest(draft, "cancelled")
        waiting = settle(draft, self._workshop.kind_of, self._workers)
        started = self._startable(draft, waiting)
        told = self._keep(draft)
        if worker is not None:
            self._put_to(worker, started, told)
        for fresh in started:
            self._spawn(fresh, told)
        if self._alarm is not None or self.run.tally.waking:
            self._set_alarm(next_wake(self.run) if self._workers else None)
        return told

    def _keep(self, draft: Draft) -> asyncio.Future[int]:
        if draft.events:
            commit = draft.commit(self._workshop.weights(self.run))
            self._told = self._workshop.log.keep(commit)
        elif self._told is None:
            self._told = self._workshop.log.keep(Commit())
        return self._told

    def _startable(self, draft: Draft, waiting: list[StepSpec]) -> list[_Worker]:
        """What may run now; a step that gets a place at once starts in this very commit."""
        started = []
        for spec in waiting:
            state = self.run.steps[spec.id]
            if state.wake_at is not None and state.wake_at > draft.at:
                continue
            kind = self._workshop.kind_of(spec)
            assert kind is not None, "unknown kinds are blocked before"
            worker = _Worker(spec, kind, self._workshop.slots.take_now(kind))
            if worker.holds_slot:
                draft.add(EventType.STEP_STARTED, spec.id)
            started.append(worker)
        return started

    def _put_to(self, worker: _Worker, started: list[_Worker], told: asyncio.Future[int]) -> None:
        """Have a worker that is free go on with a step that may start at once; else it ends."""
        worker.told = None
        following = next((other for other in started if other.holds_slot), None)
        if following is not None:
            started.remove(following)
            worker.spec, worker.kind = following.spec, following.kind
            worker.told, worker.holds_slot = told, True
            self._workers[worker.spec.id] = worker

    def _spawn(self, worker: _Worker, told: asyncio.Future[int]) -> None:
        worker.told = told
        self._workers[worker.spec.id] = worker
        task = self._workshop.spawn(self._work(worker), name=f"{self.run.mission.id}:worker")
        worker.task = task
        task.add_done_callback(lambda ended: self._finished(worker, ended))

    async def _work(self, worker: _Worker) -> None:
        """Do a step, and then what it made ready, until there is nothing for this task to do."""
        while worker.told is not None:
            try:
                await worker.told
                if not worker.holds_slot:
                    await self._start_late(worker)
                context = self._workshop.context(self.run, worker.spec, self._work_dir)
                result = await attempt(worker.kind, worker.spec, context)
            finally:
                self._release(worker)
            large = self._workshop.large(result.outputs) if isinstance(result, Done) else None
            kept_apart = None if large is None else await self._kept_apart(large)
            if worker.written_off:
                return
            self._conclude(worker, result, kept_apart)

    async def _start_late(self, worker: _Worker) -> None:
        """Wait for a place, then record the start."""
        await self._workshop.slots.take(worker.kind)
        worker.holds_slot = True
        draft = self._draft()
        draft.add(EventType.STEP_STARTED, worker.spec.id)
        told = self._keep(draft)
        if self._is_external(worker.spec):
            await self._workshop.durable(told)

    async def _kept_apart(self, outputs: bytes) -> str:
        """The hash of outputs that are too large for the log; a sick disk delays it."""
        while True:
            try:
                return await self._workshop.keep_apart(outputs)
            except Unavailable as error:
                self._workshop.report(str(error))
                await asyncio.sleep(DISK_RETRY_S)

    def _conclude(self, worker: _Worker, result: Result, kept_apart: str | None) -> None:
        step = worker.spec.id
        draft = self._draft()
        del self._workers[step]
        match result:
            case Done():
                self._finish(draft, step, result, kept_apart)
            case Wait():
                wake_at = None if result.until_s is None else self._later(result.until_s)
                data = {"question": question_of(result), "wake_at": wake_at}
                draft.add(EventType.STEP_WAITING, step, data)
            case Failed():
                self._fail(draft, worker, result)
        self._go(draft, worker)

    def _finish(self, draft: Draft, step: str, result: Done, kept_apart: str | None) -> None:
        data: dict[str, Json] = {"outputs": dict(result.outputs)}
        if result.patch is not None:
            try:
                patched(self.run.plan, result.patch, self.run.in_status(Status.QUEUED))
            except QuarterdeckError as error:
                reason = f"The steps it adds do not fit the plan: {error}"
                draft.add(EventType.STEP_FAILED, step, {"error": reason, "retry_at": None})
                return
            data["patch"] = result.patch.model_dump(mode="json")
        stored = None
        if kept_apart is not None:
            stored = {**data, "outputs": None, "outputs_sha256": kept_apart}
        draft.add(EventType.STEP_FINISHED, step, data, stored=stored)

    def _fail(self, draft: Draft, worker: _Worker, result: Failed) -> None:
        spec, kind = worker.spec, worker.kind
        failures = self.run.steps[spec.id].failures + 1
        again = result.retry and failures < (spec.attempts_max or kind.attempts_max)
        retry_at = self._later(kind.retry_after_s(failures)) if again else None
        if result.trace is not None:
            self._workshop.report(f"{self.run.mission.id}:{spec.id}: {result.trace}")
        draft.add(EventType.STEP_FAILED, spec.id, {"error": result.error, "retry_at": retry_at})

    def _later(self, seconds: float) -> str:
        return iso(self._workshop.clock.now() + timedelta(seconds=seconds))

    def _is_external(self, spec: StepSpec) -> bool:
        """Whether it may have changed something outside; an unknown kind may."""
        kind = self._workshop.kind_of(spec)
        return kind is None or kind.effect is Effect.EXTERNAL

    def _finished(self, worker: _Worker, task: asyncio.Task[None]) -> None:
        """A worker's task has ended: by itself, stopped, or broken."""
        if self._workers.get(worker.spec.id) is worker:
            del self._workers[worker.spec.id]
        self._release(worker)
        if task.cancelled():
            if self.run.cancelling:
                self._look()
        elif (error := task.exception()) is not None:
            self._break(error)
        self._stirred.set()

    def _break(self, error: BaseException) -> None:
        self._error = error
        self._stirred.set()

    def _release(self, worker: _Worker) -> None:
        if worker.holds_slot:
            worker.holds_slot = False
            self._workshop.slots.give(worker.kind)

    def _stop_for_cancel(self, workers: list[_Worker]) -> None:
        """Stop handlers once each; those that do not stop are written off a little later."""
        stopping = [worker for worker in workers if not worker.stopping]
        for worker in stopping:
            worker.stopping = True
            if worker.task is not None:
                worker.task.cancel()
        if stopping:
            loop = asyncio.get_running_loop()
            loop.call_later(CANCEL_PATIENCE_S, self._write_off, stopping)

    def _write_off(self, workers: list[_Worker]) -> None:
        slow = [w for w in workers if self._workers.get(w.spec.id) is w]
        for worker in slow:
            del self._workers[worker.spec.id]
            worker.written_off = True
            self._workshop.report(
                f"{self.run.mission.id}:{worker.spec.id} was cancelled and has not stopped yet."
            )
        if slow:
            self._look()
            self._stirred.set()

    def _set_alarm(self, moment: str | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if moment is not None:
            delay_s = self._workshop.seconds_until(moment)
            self._alarm = asyncio.get_running_loop().call_later(delay_s, self._look)

    async def _stop_workers(self) -> None:
        tasks = [worker.task for worker in self._workers.values() if worker.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=STOP_PATIENCE_S)
            for task in left:
                self._workshop.report(f"{task.get_name()} does not stop.")
