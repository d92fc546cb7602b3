"""The engine: one door in, one driver per moving mission, nothing in memory for those that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime

from quarterdeck.core.clock import Clock, SystemClock, iso
from quarterdeck.core.errors import Conflict, NotFound
from quarterdeck.core.events import Event, EventType, Json, Recorded
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Plan
from quarterdeck.core.run import (
    ENDED,
    Run,
    Status,
    apply,
    check_answer,
    fold,
    next_wake,
    started,
)
from quarterdeck.core.step import Answer, StepKind
from quarterdeck.engine.context import Resources, StepContext
from quarterdeck.engine.drive import Driver
from quarterdeck.engine.workshop import Workshop
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Commit, Log, Row
from quarterdeck.storage.missions import (
    Missions,
    mission_row,
    new_mission_row,
    reset_step_rows,
    spec_row,
    step_row,
)

EVENTS_PAGE = 1000

Key = tuple[str, str]
"""A mission's workspace and id."""


class Engine:
    """Runs plans of known step kinds over one log."""

    def __init__(
        self,
        log: Log,
        directory: DataDirectory,
        kinds: Iterable[StepKind[StepContext]],
        *,
        resources: Resources | None = None,
        clock: Clock | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        self.log = log
        self.missions = Missions(log.db)
        self.clock: Clock = clock or SystemClock()
        self._workshop = Workshop(
            log,
            directory,
            kinds,
            resources=resources or Resources(),
            clock=self.clock,
            report=report,
        )
        self.artifacts = self._workshop.artifacts
        self._drivers: dict[Key, Driver] = {}
        self._driving: dict[Key, asyncio.Task[None]] = {}
        self._loading: dict[Key, asyncio.Lock] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._answering: set[tuple[str, str, str]] = set()
        self._ended: dict[Key, list[asyncio.Future[Run]]] = {}
        self._stopping = False

    async def start(self) -> dict[str, int]:
        """Take up every unfinished mission; returns how many were resumed and armed."""
        resumed = armed = 0
        for row in await self.missions.unfinished():
            key = (row["workspace"], row["id"])
            if row["status"] in {Status.QUEUED, Status.RUNNING, Status.BLOCKED}:
                self._move(key)
                resumed += 1
            elif row["wake_at"]:
                self._arm(key, row["wake_at"])
                armed += 1
        return {"resumed": resumed, "armed": armed}

    async def stop(self) -> None:
        """Interrupt what runs; it resumes at the next start."""
        self._stopping = True
        for timer in self._timers.values():
            timer.cancel()
        while self._workshop.tasks:
            for task in list(self._workshop.tasks):
                task.cancel()
            await asyncio.wait(list(self._workshop.tasks))

    async def submit(self, mission: Mission, plan: Plan) -> Run:
        """Accept a mission: its first events and its row in one transaction.

        Raises:
            Conflict: when the workspace has a mission of this id.
            Unavailable: when the log cannot be written; nothing is stored then.
        """
        data = {"mission": mission.model_dump(mode="json"), "plan": plan.model_dump(mode="json")}
        event = Event(
            EventType.MISSION_SUBMITTED,
            mission.created_at,
            mission.workspace,
            mission.created_by,
            mission.id,
            None,
            data,
        )
        begun = replace(
            event, type=EventType.MISSION_ORCHESTRATION_STARTED, data={"recipe": plan.recipe}
        )
        run = started(event)
        try:
            await self.log.commit(Commit([event, begun], script=[new_mission_row(run)]))
        except Conflict:
            raise Conflict(
                f"There is a mission {mission.id!r} already.",
                where="mission_id",
                hint="Leave the id out to get a fresh one.",
            ) from None
        key = (mission.workspace, mission.id)
        self._drivers.setdefault(key, Driver(self._workshop, run))
        self._move(key)
        return run

    async def answer(
        self, key: Key, step: str, answer: Answer, *, digest: str | None = None
    ) -> Run:
        """Give a waiting step its answer; the first one wins.

        Raises:
            NotFound: when there is no such mission.
            Conflict: when the step is not waiting, the choice is not offered or the digest is old.
        """
        run = await self._open_run(key)
        check_answer(run, step, answer.choice, digest)
        claim = (*key, step)
        if claim in self._answering:
            raise Conflict("Somebody is answering this right now.", where="step")
        self._answering.add(claim)
        try:
            question = run.steps[step].question or {}
            data = {"answer": asdict(answer), "digest": question.get("digest")}
            event = self._workshop.event(
                run, EventType.STEP_ANSWERED, answer.actor, data, step=step
            )
            await self._change(run, event)
        finally:
            self._answering.discard(claim)
            self._move(key)
        return run

    async def cancel(self, key: Key, *, actor: str, reason: str = "") -> Run:
        """Stop a mission for good; running commands are killed.

        Raises:
            Conflict: when it has ended already.
        """
        run = await self._open_run(key)
        data = {"reason": reason}
        kind = EventType.MISSION_CANCEL_REQUESTED
        await self._change(run, self._workshop.event(run, kind, actor, data))
        self._move(key)
        return run

    async def rewind(
        self, key: Key, to: str, *, actor: str, changes: Mapping[str, Json], reason: str = ""
    ) -> Run:
        """Do `to` and all that follows it again, with a changed brief or constraints (ORC-7).

        Raises:
            Conflict: when the mission is moving or ended.
            NotFound: when the recipe has no such step.
        """
        run = await self._open_run(key)
        if run.in_status(Status.RUNNING):
            raise Conflict(
                "The mission is working right now.", where="mission", hint="Wait or cancel it."
            )
        if to not in {spec.id for spec in run.recipe_plan.steps}:
            raise NotFound(f"The recipe has no step {to!r}.", where="to")
        changed = Mission.model_validate({**run.mission.model_dump(mode="json"), **changes})
        events = [
            self._workshop.event(run, EventType.MISSION_CHANGED, actor, {"changes": dict(changes)}),
            self._workshop.event(
                run, EventType.MISSION_REWOUND, actor, {"to": to, "reason": reason}
            ),
        ]
        for event in events:
            apply(run, event)
        run.mission = changed
        script = [spec_row(changed), *reset_step_rows(run)]
        await self.log.commit(Commit(events, [self._mission_row(run)], script))
        self._move(key)
        return run

    async def run(self, key: Key) -> Run:
        """The mission's present state.

        Raises:
            NotFound: when the workspace has no such mission.
        """
        driver = self._drivers.get(key)
        return driver.run if driver is not None else await self._load(key)

    async def events(self, key: Key, *, after: int = 0) -> list[Recorded]:
        """Every event of a mission with a place after `after`, in order."""
        found: list[Recorded] = []
        while True:
            page = await self.log.read(
                after=found[-1].seq if found else after,
                workspace=key[0],
                mission=key[1],
                limit=EVENTS_PAGE,
            )
            found.extend(page)
            if len(page) < EVENTS_PAGE:
                return found

    async def ended(self, key: Key) -> Run:
        """Wait until the mission is over."""
        run = await self.run(key)
        if run.status in ENDED and key not in self._driving:
            return run
        waiter: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        self._ended.setdefault(key, []).append(waiter)
        return await waiter

    async def idle(self, key: Key) -> Run:
        """Wait until the mission is over or waits for somebody."""
        while (task := self._driving.get(key)) is not None:
            await asyncio.wait([task])
            await asyncio.sleep(0)
        return await self.run(key)

    async def idle_within(self, key: Key, seconds: float) -> bool:
        """Wait, at most so long, until the mission is over or waits; whether it came to rest."""
        task = self._driving.get(key)
        if task is not None and seconds > 0:
            await asyncio.wait([task], timeout=seconds)
            await asyncio.sleep(0)
        return key not in self._driving

    async def durable(self, key: Key) -> None:
        """Wait until all that a moving mission's run shows is on the disk."""
        if key in self._drivers:
            await self.log.commit(Commit())

    def weights(self, run: Run) -> Mapping[str, float]:
        """The expected duration of each step, in seconds."""
        return self._workshop.weights(run)

    async def _load(self, key: Key) -> Run:
        events = await self.events(key)
        if not events:
            raise NotFound(f"There is no mission {key[1]!r}.", where="mission")
        return fold([await self._workshop.whole(recorded.event) for recorded in events])

    async def _open_run(self, key: Key) -> Run:
        """The one run of an unfinished mission that everybody shares while it is held."""
        lock = self._loading.setdefault(key, asyncio.Lock())
        async with lock:
            driver = self._drivers.get(key)
            if driver is None:
                driver = Driver(self._workshop, await self._load(key))
                if driver.run.status not in ENDED:
                    self._drivers[key] = driver
        self._loading.pop(key, None)
        if driver.run.status in ENDED:
            raise Conflict(f"The mission is {driver.run.status.value} already.", where="mission")
        return driver.run

    def _move(self, key: Key) -> None:
        """Make sure that a driver looks at this mission."""
        if self._stopping:
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._driving:
            if key in self._drivers:
                self._drivers[key].nudge()
            return
        name = f"{key[0]}/{key[1]}"
        self._driving[key] = self._workshop.spawn(self._drive(key), name=name)

    async def _drive(self, key: Key) -> None:
        run: Run | None = None
        try:
            run = await self._open_run(key)
            await self._wake_due(run)
            await self._drivers[key].drive()
        finally:
            self._drivers.pop(key, None)
            del self._driving[key]
        self._let_go(key, run)

    def _let_go(self, key: Key, run: Run) -> None:
        if run.status in ENDED:
            for waiter in self._ended.pop(key, []):
                if not waiter.done():
                    waiter.set_result(run)
            return
        moment = next_wake(run)
        if moment is not None:
            self._arm(key, moment)

    def _arm(self, key: Key, moment: str) -> None:
        due = datetime.fromisoformat(moment)
        delay_s = max(0.0, (due - self.clock.now()).total_seconds())
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(delay_s, self._move, key)

    async def _wake_due(self, run: Run) -> None:
        now = iso(self.clock.now())
        for step_id in run.in_status(Status.WAITING):
            wake_at = run.steps[step_id].wake_at
            if wake_at is not None and wake_at <= now:
                kind = EventType.STEP_WOKEN
                await self._change(run, self._workshop.event(run, kind, "system", {}, step=step_id))

    async def _change(self, run: Run, event: Event) -> None:
        """Apply an event from outside and make it durable; undone when the disk refuses."""
        before = replace(run.steps[event.step]) if event.step else None
        apply(run, event)
        rows = [self._mission_row(run)]
        if event.step:
            rows.append(step_row(run, event.step))
        try:
            await self.log.commit(Commit([event], rows))
        except Exception:
            if event.step and before is not None:
                run.steps[event.step] = before
            else:
                run.cancelling = False
            raise

    def _mission_row(self, run: Run) -> Row:
        return mission_row(run, self.weights(run))
