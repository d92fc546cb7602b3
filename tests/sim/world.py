"""A seeded world: random plans, flaky handlers, people who answer, and a process that dies."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from quarterdeck.core.clock import SystemClock, iso
from quarterdeck.core.errors import QuarterdeckError, StepFailed
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Patch, Plan, StepSpec
from quarterdeck.core.run import ENDED, Status
from quarterdeck.core.step import Answer, Choice, Done, Effect, StepKind, Wait
from quarterdeck.engine.context import StepContext
from quarterdeck.engine.engine import Engine
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log

WORKSPACE = "default"
AT_ONCE = 50


class Death(BaseException):
    """The process dies here."""


class MortalLog(Log):
    """A log whose process can die: what was not on the disk yet is gone."""

    async def die(self) -> None:
        with self._wake:
            self._fresh.clear()
            self._waiting.clear()
        await self.close()


@dataclass
class World:
    """What survives a death: the seed, the files, and what really happened."""

    seed: int
    root: Path
    missions: int
    deaths_left: int
    fuse_max: int
    ran: Counter[str] = field(default_factory=Counter)
    ran_after_finish: list[str] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)
    over: set[str] = field(default_factory=set)
    lives: int = 0
    fuse: int = 0

    def chance(self, *names: object) -> float:
        """A number in 0..1 that depends on the seed and the names alone."""
        text = f"{self.seed}:{':'.join(map(str, names))}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:6], "big") / 2**48

    def plan(self, mission: str) -> Plan:
        """A random graph of 3 to 9 steps."""
        dice = random.Random(f"{self.seed}:{mission}")
        steps = []
        for i in range(dice.randint(3, 9)):
            needs = tuple(f"s{n}" for n in range(i) if dice.random() < 0.35)
            kind = dice.choices(("work", "outside", "ask", "grow"), (8, 1, 1, 1))[0]
            steps.append(StepSpec(id=f"s{i}", kind=kind, needs=needs, phase=f"p{i // 3}"))
        return Plan(recipe="sim", steps=tuple(steps))

    def mission(self, n: int) -> Mission:
        at = iso(SystemClock().now())
        return Mission(
            id=f"m{n}", workspace=WORKSPACE, brief="sim", created_by="user:owner", created_at=at
        )


def kinds(world: World, die: asyncio.Event) -> tuple[StepKind[StepContext], ...]:
    """Handlers that work, fail, ask, add steps, and now and then end the process."""

    async def work(ctx: StepContext) -> Done:
        name = f"{ctx.mission.id}:{ctx.step.id}"
        world.ran[name] += 1
        if name in world.finished:
            world.ran_after_finish.append(name)
        world.fuse -= 1
        if world.fuse == 0 and world.deaths_left > 0:
            die.set()
            await asyncio.Event().wait()
        if world.chance(name, ctx.attempt, "flaky") < 0.12:
            raise StepFailed("flaky", retry=True)
        if world.chance(name, "broken") < 0.02:
            raise StepFailed("broken")
        return Done({"n": world.ran[name]})

    async def ask(ctx: StepContext) -> Done | Wait:
        if ctx.answers:
            return Done({"choice": ctx.answers[-1].choice})
        return Wait("Go on?", (Choice("yes", "Yes"), Choice("no", "No")))

    async def grow(ctx: StepContext) -> Done:
        done = await work(ctx)
        added = StepSpec(id=f"{ctx.step.id}_more", kind="work", needs=(ctx.step.id,))
        return Done(done.outputs, Patch(steps=(added,), rewire={ctx.step.id: added.id}))

    again = {"attempts_max": 6, "backoff_s": 0.001}
    return (
        StepKind("work", work, Effect.IDEMPOTENT, **again),
        StepKind("outside", work, Effect.EXTERNAL, **again),
        StepKind("ask", ask, Effect.PURE),
        StepKind("grow", grow, Effect.IDEMPOTENT, **again),
    )


async def live(world: World) -> bool:
    """One life of the process; True when every mission is over."""
    world.lives += 1
    dice = random.Random(f"{world.seed}:life{world.lives}")
    world.fuse = dice.randint(2, world.fuse_max)
    die = asyncio.Event()
    directory = DataDirectory(world.root)
    directory.create()
    db = Database(directory.journal)
    log = MortalLog(db)
    log.listen(lambda recorded: _note(world, recorded))
    engine = Engine(log, directory, kinds(world, die), report=lambda line: None)
    work = asyncio.ensure_future(_work(world, engine))
    dying = asyncio.ensure_future(die.wait())
    await asyncio.wait({work, dying}, return_when=asyncio.FIRST_COMPLETED)
    died = die.is_set()
    if died:
        world.deaths_left -= 1
        await log.die()
    dying.cancel()
    work.cancel()
    await asyncio.gather(work, dying, return_exceptions=True)
    await engine.stop()
    if not died:
        await log.close()
    db.close()
    return not died


def _note(world, recorded) -> None:
    for one in recorded:
        if one.event.type.value == "step.finished":
            world.finished.add(f"{one.event.mission}:{one.event.step}")
        elif one.event.type.value == "mission.finished":
            world.over.add(one.event.mission)


async def _work(world: World, engine: Engine) -> None:
    await engine.start()
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(n: int) -> None:
        async with gate:
            await _to_its_end(world, engine, n)

    left = [n for n in range(world.missions) if f"m{n}" not in world.over]
    await asyncio.gather(*(one(n) for n in left))


async def _to_its_end(world: World, engine: Engine, n: int) -> None:
    """Submit it unless an earlier life did, answer what it asks, until it is over."""
    mission = world.mission(n)
    key = (WORKSPACE, mission.id)
    try:
        await engine.submit(mission, world.plan(mission.id))
    except QuarterdeckError:
        await engine.run(key)
    while True:
        run = await engine.idle(key)
        if run.status in ENDED:
            return
        for step in run.in_status(Status.WAITING):
            question = run.steps[step].question or {}
            offered = [choice["id"] for choice in question["choices"]]
            answer = Answer(offered[0], "user:owner", iso(engine.clock.now()))
            await engine.answer(key, step, answer)
        await asyncio.sleep(0.002)
