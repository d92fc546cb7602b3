"""The bus tells who waits that an event is durable, and nobody else."""

from __future__ import annotations

import asyncio

from quarterdeck.core.events import Event, EventType
from quarterdeck.storage.bus import Bus
from quarterdeck.storage.db import Database
from quarterdeck.storage.log import Commit, Log


def event(mission: str) -> Event:
    at = "2026-01-01T00:00:00.000Z"
    return Event(EventType.STEP_PROGRESSED, at, "default", "system", mission, "s", {})


async def test_those_who_wait_for_an_event_hear_of_it_when_it_is_durable(tmp_path):
    db = Database(tmp_path / "journal.db")
    log = Log(db)
    bus = Bus(log)
    mine = asyncio.ensure_future(bus.next(lambda r: r.event.mission == "a", 5))
    also = asyncio.ensure_future(bus.next(lambda r: r.event.mission == "a", 5))
    other = asyncio.ensure_future(bus.next(lambda r: r.event.mission == "b", 0.1))
    await asyncio.sleep(0)
    await log.commit(Commit([event("c"), event("a")]))
    assert await asyncio.gather(mine, also, other) == [True, True, False]
    gone = asyncio.ensure_future(bus.next(lambda r: True, 5))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert bus._waiters == {}
    await log.commit(Commit([event("a")]))
    await log.close()
    db.close()
