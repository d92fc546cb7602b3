"""Thousands of missions in a process that keeps dying: what the log says is what happened."""

from __future__ import annotations

import asyncio

import pytest

from quarterdeck.core.events import Event, EventType, leaf_hash
from quarterdeck.core.run import ENDED, SATISFIED, Status, apply, fold, started
from quarterdeck.storage.db import Database
from quarterdeck.storage.log import Log
from quarterdeck.storage.missions import Missions
from tests.sim.world import WORKSPACE, World, live


def _lived(world: World) -> None:
    while not asyncio.run(live(world)):
        pass


async def _check(world: World) -> None:
    db = Database(world.root / "journal.db")
    log = Log(db)
    missions = Missions(db)
    everything = await log.read(limit=10_000_000)
    sealed = await db.fetch_all("SELECT seq, body, leaf FROM event ORDER BY seq")
    assert [row["seq"] for row in sealed] == list(range(1, len(sealed) + 1))
    assert all(leaf_hash(bytes(row["body"])) == bytes(row["leaf"]) for row in sealed)
    by_mission: dict[str, list[Event]] = {}
    for one in everything:
        by_mission.setdefault(one.event.mission, []).append(one.event)
    for n in range(world.missions):
        events = by_mission[f"m{n}"]
        _check_order(events)
        run = fold(events)
        row = await missions.get(WORKSPACE, f"m{n}")
        rows = {r["id"]: r for r in await missions.steps(WORKSPACE, f"m{n}")}
        assert run.status in ENDED
        assert row is not None
        assert (row["status"], row["error"]) == (run.status.value, run.error)
        assert {i: r["status"] for i, r in rows.items()} == {
            i: s.status.value for i, s in run.steps.items()
        }
    await log.close()
    db.close()


def _check_order(events) -> None:
    """No step starts before its needs are over, none starts again after it is finished."""
    run = started(events[0])
    for event in events[1:]:
        if event.type is EventType.STEP_STARTED:
            assert run.steps[event.step].status is Status.QUEUED
            for need in run.spec(event.step).needs:
                assert run.steps[need].status in SATISFIED
        apply(run, event)


def _simulate(tmp_path, seed: int, missions: int, deaths: int) -> World:
    world = World(seed, tmp_path, missions, deaths, fuse_max=missions * 4 // deaths)
    _lived(world)
    asyncio.run(_check(world))
    assert world.ran_after_finish == []
    return world


@pytest.mark.req("RUN-8")
@pytest.mark.parametrize("seed", [1, 2])
def test_missions_survive_a_process_that_dies(tmp_path, seed):
    world = _simulate(tmp_path, seed, missions=40, deaths=8)
    assert world.deaths_left <= 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.req("RUN-8")
def test_two_thousand_missions_survive_a_process_that_dies(tmp_path):
    world = _simulate(tmp_path, seed=3, missions=2000, deaths=60)
    assert world.deaths_left <= 10
