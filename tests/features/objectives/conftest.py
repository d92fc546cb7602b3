"""An engine with this feature on a temporary directory, and a fetcher for loopback sites."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.core.clock import SystemClock, iso
from quarterdeck.core.run import Run
from quarterdeck.engine.answers import answer
from quarterdeck.engine.context import Resources
from quarterdeck.engine.engine import Engine
from quarterdeck.engine.reactions import Reactions
from quarterdeck.engine.recipes import shipped_recipes
from quarterdeck.engine.submit import Submission, submit
from quarterdeck.features.objectives import Objectives, ObjectiveSettings, feature
from quarterdeck.features.objectives.addresses import Endpoint
from quarterdeck.features.objectives.budget import Allowance, Meter
from quarterdeck.features.objectives.fetch import Fetcher, Limits
from quarterdeck.features.objectives.scope import parse_scope
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log
from tests.features.objectives.sites import resolver


class Bench:
    """One engine that runs objective missions."""

    def __init__(self, engine: Engine, resources: Resources, reactions: Reactions) -> None:
        self.engine = engine
        self.resources = resources
        self.reactions = reactions
        self.recipes = shipped_recipes()

    @property
    def objectives(self) -> Objectives:
        return self.resources.get(Objectives)

    async def propose(self, objective: str, *domains: str, **constraints: Any) -> Run:
        stated = {"scope": {"allowed_domains": list(domains)}, **constraints}
        given = Submission(brief=objective, recipe="objective", constraints=stated)
        run = await submit(
            self.engine, self.recipes, given, workspace="default", actor="user:owner"
        )
        return await self.rest(run)

    async def say(self, run: Run, choice: str) -> Run:
        key = (run.mission.workspace, run.mission.id)
        await answer(self.engine, key, (choice,), actor="user:owner")
        return await self.rest(run)

    async def rest(self, run: Run) -> Run:
        key = (run.mission.workspace, run.mission.id)
        return await asyncio.wait_for(self.engine.idle(key), 30)

    async def carried_out(self, objective: str, *domains: str, **constraints: Any) -> Run:
        """Proposed, approved and executed."""
        run = await self.propose(objective, *domains, **constraints)
        return await self.say(await self.say(run, "approve"), "execute")


@asynccontextmanager
async def bench_at(root: Path, settings: ObjectiveSettings, **names: str) -> AsyncIterator[Bench]:
    directory = DataDirectory(root)
    directory.create()
    db = Database(directory.journal)
    log = Log(db, tables=feature.tables)
    resources = Resources()
    engine = Engine(log, directory, feature.steps, resources=resources, report=print)
    resources.add(Objectives(engine, settings, resolver=resolver(**names)))
    reactions = Reactions(log, feature.reactions, resources=resources, report=print)
    await engine.start()
    await reactions.start()
    try:
        yield Bench(engine, resources, reactions)
    finally:
        await engine.stop()
        await reactions.stop()
        await log.close()
        db.close()


@pytest.fixture
def at(tmp_path: Path):
    """`async with at(port, …) as bench`: missions may reach 127.0.0.1 at the given ports."""

    def open_bench(*ports: int, search: int | None = None, **names: str):
        settings = ObjectiveSettings(
            search_url=None if search is None else f"http://127.0.0.1:{search}",
            internal_endpoints={"default": [f"127.0.0.1:{port}" for port in ports]},
        )
        return bench_at(tmp_path, settings, **names)

    return open_bench


@pytest.fixture
def fetching() -> Callable[..., Fetcher]:
    """A fetcher with limits of the test's own."""

    def make(
        *domains: str, ports: tuple[int, ...] = (), names: dict[str, str] | None = None, **own
    ):
        allowed = Allowance(
            own.get("requests", 50), own.get("size_bytes", 10**8), own.get("seconds", 20.0)
        )
        return Fetcher(
            parse_scope({"allowed_domains": list(domains)}),
            Meter(allowed, SystemClock().monotonic_s),
            resolve=own.get("resolve") or resolver(**(names or {})),
            internal={Endpoint("127.0.0.1", port) for port in ports},
            limits=Limits(own.get("page_bytes", 200_000), own.get("page_s", 5.0)),
        )

    return make


def now() -> str:
    return iso(SystemClock().now())
