"""Reactions follow the log in order, over restarts, and one that fails stops nobody."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from quarterdeck.core.events import Event, EventType
from quarterdeck.engine import reactions as module
from quarterdeck.engine.context import Resources
from quarterdeck.engine.reactions import PAGE, Reaction, Reactions
from quarterdeck.storage.db import Database
from quarterdeck.storage.log import Commit, Log

NOTED, OTHER = EventType.MODEL_CALLED, EventType.STEP_PROGRESSED


def event(n: int, type: EventType = NOTED) -> Event:
    return Event(type, "2026-01-01T00:00:00.000Z", "default", "system", None, None, {"n": n})


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "RETRY_S", 0.001)


@pytest.fixture
def following(tmp_path):
    @asynccontextmanager
    async def opened(*reactions: Reaction, report=lambda line: None):
        db = Database(tmp_path / "journal.db")
        log = Log(db)
        follower = Reactions(log, reactions, resources=Resources(), report=report)
        await follower.start()
        try:
            yield log, follower
        finally:
            await follower.stop()
            await log.close()
            db.close()

    return opened


def noting(heard: list[int], name: str = "note") -> Reaction:
    async def run(recorded, _resources):
        heard.append(recorded.event.data["n"])

    return Reaction(name, (NOTED,), run)


async def test_every_wanted_event_comes_once_in_order_over_restarts(following):
    heard: list[int] = []
    async with following() as (log, _):
        await log.commit(Commit([event(n) for n in range(PAGE + 5)]))
    async with following(noting(heard)) as (log, follower):
        await log.commit(Commit([event(-1, OTHER), event(PAGE + 5)]))
        await asyncio.wait_for(follower.caught_up(), 5)
    async with following(noting(heard)) as (log, follower):
        await log.commit(Commit([event(PAGE + 6)]))
        await asyncio.wait_for(follower.caught_up(), 5)
    assert heard == list(range(PAGE + 7))


async def test_one_that_fails_is_reported_and_neither_stops_itself_nor_the_others(following):
    heard: list[int] = []
    tries: list[int] = []
    said: list[str] = []

    async def run(recorded, _resources):
        tries.append(recorded.event.data["n"])
        if recorded.event.data["n"] == 1:
            raise RuntimeError("no")

    failing = Reaction("failing", (NOTED,), run)
    async with following(failing, noting(heard), report=said.append) as (log, follower):
        await log.commit(Commit([event(n) for n in range(3)]))
        await asyncio.wait_for(follower.caught_up(), 5)
    assert heard == [0, 1, 2]
    assert tries == [0, 1, 1, 1, 2]
    assert len(said) == 3
    assert all("failing on event 2" in line for line in said)


async def test_a_log_that_cannot_be_read_for_a_moment_does_not_end_a_reaction(
    following, monkeypatch
):
    heard: list[int] = []
    said: list[str] = []
    async with following(noting(heard), report=said.append) as (log, follower):
        await asyncio.wait_for(follower.caught_up(), 5)
        read = log.read

        async def broken(**_asked):
            monkeypatch.setattr(log, "read", read)
            raise OSError("the disk hiccups")

        monkeypatch.setattr(log, "read", broken)
        await log.commit(Commit([event(0)]))
        await asyncio.wait_for(follower.caught_up(), 5)
    assert heard == [0]
    assert "hiccups" in said[0]
