"""An engine as a value: made in a millisecond on a real SQLite file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from quarterdeck.core.clock import SystemClock, iso
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Plan, StepSpec
from quarterdeck.core.step import Answer, Done, Effect, StepKind, Wait
from quarterdeck.engine.context import StepContext
from quarterdeck.engine.engine import Engine
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log

Handler = Callable[[StepContext], Awaitable[Done | Wait]]


def kind(name: str, run: Handler, **manners: object) -> StepKind[StepContext]:
    effect = manners.pop("effect", Effect.IDEMPOTENT)
    return StepKind(name=name, run=run, effect=effect, **manners)


def plan(*steps: dict) -> Plan:
    return Plan(recipe="test", steps=tuple(StepSpec(**{"kind": s["id"], **s}) for s in steps))


def mission(mission_id: str = "m1", **fields: object) -> Mission:
    given = {"brief": "do it", "workspace": "default", "created_by": "user:owner", **fields}
    return Mission(id=mission_id, created_at=iso(SystemClock().now()), **given)


def yes(choice: str = "yes", **data: object) -> Answer:
    return Answer(choice, "user:owner", iso(SystemClock().now()), data=data)


@asynccontextmanager
async def engine_at(root: Path, *kinds: StepKind[StepContext]) -> AsyncIterator[Engine]:
    directory = DataDirectory(root)
    directory.create()
    db = Database(directory.journal)
    log = Log(db)
    engine = Engine(log, directory, kinds, report=lambda line: None)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
        await log.close()
        db.close()
