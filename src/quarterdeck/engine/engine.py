"""The engine: one door in, one driver per moving mission, nothing in memory for those that wait."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace

from pydantic import ValidationError

from quarterdeck.core.clock import Clock, SystemClock, iso
from quarterdeck.core.errors import Conflict, NotFound, Unavailable
from quarterdeck.core.events import Event, EventType, Json, Recorded
from quarterdeck.core.ids import SYSTEM
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Plan
from quarterdeck.core.run import ENDED, Run, Status, changed, check_answer, fold, fresh, next_wake
from quarterdeck.core.step import Answer, StepKind
from quarterdeck.core.validated import invalid
from quarterdeck.engine.context import Resources, StepContext
from quarterdeck.engine.drive import Driver
from quarterdeck.engine.settle import Draft
from quarterdeck.engine.workshop import Workshop
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Commit, Log
from quarterdeck.storage.missions import Missions, blocked_mission, new_mission_row

EVENTS_PAGE = 1000
DISK_PATIENCE_S = 10.0
"""How long a person's request waits for a disk that does not take it."""
STOP_PATIENCE_S = 12.0
PAUSES_S = (0.2, 1.0, 5.0)
"""Between tries at a mission at which the engine itself fails; after the last it is blocked."""

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
        self._ended: dict[Key, list[asyncio.Future[Run]]] = {}
        self._second = ("", 0)
        self._stopping = False

    def nth_in(self, second: str) -> int:
        """How many missions, with this one, asked for a name in this second (ORC-1)."""
        last, count = self._second
        self._second = (second, count + 1 if second == last else 1)
        return self._second[1]

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
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + STOP_PATIENCE_S
        while self._workshop.tasks and loop.time() < deadline_s:
            for task in list(self._workshop.tasks):
                task.cancel()
            await asyncio.wait(list(self._workshop.tasks), timeout=STOP_PATIENCE_S)
        for task in self._workshop.tasks:
            self._workshop.report(f"{task.get_name()} does not stop.")

    async def submit(self, mission: Mission, plan: Plan) -> Run:
        """Accept a mission: its first events and its row in one transaction.

        Raises:
            Conflict: when the workspace has a mission of this id.
            Unavailable: when the log cannot be written; nothing is stored then.
        """
        spec = mission.model_dump(mode="json")
        data = {"mission": spec, "plan": plan.document}
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
        run = fresh(mission, plan, at=mission.created_at)
        commit = Commit([event, begun], script=[new_mission_row(run, spec)])
        told = self.log.offer(commit)
        # Who asked may go away meanwhile: a mission that was stored is taken up all the same.
        told.add_done_callback(lambda done: self._take_up(run, done))
        try:
            await asyncio.shield(told)
        except Conflict:
            raise Conflict(
                f"There is a mission {mission.id!r} already.",
                where="mission_id",
                hint="Leave the id out to get a fresh one.",
            ) from None
        return run

    def _take_up(self, run: Run, told: asyncio.Future[int]) -> None:
        """Start a mission that is stored."""
        if not told.cancelled() and told.exception() is None:
            key = (run.mission.workspace, run.mission.id)
            self._drivers.setdefault(key, Driver(self._workshop, run))
            self._move(key)

    async def answer(
        self, key: Key, step: str, answer: Answer, *, digest: str | None = None
    ) -> Run:
        """Give a waiting step its answer; the first one wins.

        Raises:
            NotFound: when there is no such mission.
            Conflict: when the step is not waiting, the choice is not offered or the digest is old.
            Unavailable: when the log cannot be written.
        """

        def add(draft: Draft) -> None:
            check_answer(draft.run, step, answer.choice, digest)
            question = draft.run.steps[step].question or {}
            data = {"answer": asdict(answer), "digest": question.get("digest")}
            draft.add(EventType.STEP_ANSWERED, step, data, actor=answer.actor)

        return await self._change(key, add)

    async def cancel(self, key: Key, *, actor: str, reason: str = "") -> Run:
        """Stop a mission for good; running commands are killed.

        Raises:
            NotFound: when there is no such mission.
            Conflict: when it has ended already.
            Unavailable: when the log cannot be written.
        """

        def add(draft: Draft) -> None:
            kind = EventType.MISSION_CANCEL_REQUESTED
            draft.add(kind, None, {"reason": reason}, actor=actor)

        return await self._change(key, add)

    async def rewind(
        self, key: Key, to: str, *, actor: str, changes: Mapping[str, Json], reason: str = ""
    ) -> Run:
        """Do `to` and all that follows it again, with a changed brief or constraints (ORC-7).

        Raises:
            Conflict: when the mission is moving or ended.
            NotFound: when there is no such mission, or its recipe has no such step.
            InvalidInput: when the changed mission would not be one.
            Unavailable: when the log cannot be written.
        """

        def add(draft: Draft) -> None:
            run = draft.run
            if run.cancelling or self._drivers[key].busy:
                raise Conflict(
                    "The mission is working right now.", where="mission", hint="Wait or cancel it."
                )
            if to not in {spec.id for spec in run.recipe_plan.steps}:
                raise NotFound(f"The recipe has no step {to!r}.", where="to")
            try:
                changed(run.mission, changes)
            except ValidationError as error:
                raise invalid(error) from None
            draft.add(EventType.MISSION_CHANGED, None, {"changes": dict(changes)}, actor=actor)
            draft.add(EventType.MISSION_REWOUND, None, {"to": to, "reason": reason}, actor=actor)

        return await self._change(key, add)

    async def _change(self, key: Key, add: Callable[[Draft], None]) -> Run:
        """Have a mission's driver record what somebody outside decided; returns when durable.

        It is in the mission's line before this first waits, so nothing can come between the check
        and the record, and whoever asked may go away meanwhile.
        """
        if self.log.degraded is not None:
            raise Unavailable(self.log.degraded, where="log", hint="Try again soon.")
        driver = await self._open(key)
        if driver.run.status in ENDED:
            raise Conflict(f"The mission is {driver.run.status.value} already.", where="mission")
        try:
            told = driver.change(add)
        finally:
            self._move(key)
        try:
            async with asyncio.timeout(DISK_PATIENCE_S):
                await self._workshop.durable(told)
        except TimeoutError:
            raise Unavailable(
                "It is noted, but the disk has not taken it yet.",
                where="log",
                hint="Look at the mission before you repeat it.",
            ) from None
        return driver.run

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
        """Wait until the mission is over.

        Raises:
            NotFound: when there is no such mission.
        """
        waiter: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        waiters = self._ended.setdefault(key, [])
        waiters.append(waiter)  # before looking: it may end while the log is read
        try:
            run = await self.run(key)
            if run.status in ENDED and key not in self._driving:
                return run
            return await waiter
        finally:
            waiters.remove(waiter)
            if not waiters and self._ended.get(key) is waiters:
                del self._ended[key]

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

    async def _open(self, key: Key) -> Driver:
        """The one driver that everybody shares while the mission is held."""
        lock = self._loading.setdefault(key, asyncio.Lock())
        async with lock:
            driver = self._drivers.get(key)
            if driver is None:
                driver = Driver(self._workshop, await self._load(key))
                if driver.run.status not in ENDED:
                    driver = self._drivers.setdefault(key, driver)
        self._loading.pop(key, None)
        return driver

    def _move(self, key: Key) -> None:
        """Make sure that a driver looks at this mission."""
        if self._stopping or key in self._driving:
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        name = f"{key[0]}/{key[1]}"
        self._driving[key] = self._workshop.spawn(self._drive(key), name=name)

    async def _drive(self, key: Key) -> None:
        """Drive a mission until it rests, then let go of it.

        When the engine itself fails at it, the mission is read anew from the log and tried again;
        after the last try it is blocked, for everybody to see.
        """
        run: Run | None = None
        try:
            for pause_s in (*PAUSES_S, None):
                try:
                    run = await self._driven(key)
                    break
                except Exception as error:  # noqa: BLE001 - one of the supervising loops
                    if self.log.closed:
                        break
                    self._drivers.pop(key, None)
                    self._workshop.report(f"{key[0]}/{key[1]}: {traceback.format_exc()}")
                    await self._step_back(key, error, pause_s)
        finally:
            self._drivers.pop(key, None)
            del self._driving[key]
        if run is not None:
            self._let_go(key, run)

    async def _driven(self, key: Key) -> Run:
        driver = await self._open(key)
        if driver.run.status not in ENDED:
            await driver.drive()
        return driver.run

    async def _step_back(self, key: Key, error: Exception, pause_s: float | None) -> None:
        """Let the log catch up and time pass; without `pause_s` give up, and say so in the log."""
        commit = Commit()
        if pause_s is None:
            reason = f"The engine failed at this mission: {type(error).__name__}: {error}"[:500]
            at = iso(self.clock.now())
            kind, system = EventType.MISSION_BLOCKED, SYSTEM
            event = Event(kind, at, key[0], system, key[1], None, {"reason": reason})
            commit = Commit([event], script=[blocked_mission(*key, reason)])
        await self._workshop.durable(self.log.keep(commit))
        await asyncio.sleep(pause_s or 0)

    def _let_go(self, key: Key, run: Run) -> None:
        if run.status in ENDED:
            for waiter in self._ended.pop(key, []):
                if not waiter.done():
                    waiter.set_result(run)
            return
        moment = next_wake(run)
        if moment is not None and not self._stopping:
            self._arm(key, moment)

    def _arm(self, key: Key, moment: str) -> None:
        """Move the mission at this moment, sleeping towards it in bounded pieces."""
        left_s = self._workshop.seconds_until(moment)
        loop = asyncio.get_running_loop()
        if left_s > 0:
            self._timers[key] = loop.call_later(left_s, self._arm, key, moment)
        else:
            self._timers.pop(key, None)
            self._move(key)
