"""The chunk log: nothing lost between memory and disk, readers of any speed, limits kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quarterdeck.core.clock import SystemClock
from quarterdeck.core.errors import Unavailable
from quarterdeck.storage import chunks
from quarterdeck.storage.chunks import ChunkLog, Stream
from quarterdeck.storage.db import Database
from quarterdeck.storage.log import Log

pytestmark = pytest.mark.req("STR-1", "STR-4")
KEY = ("default", "m1")


class _Later(SystemClock):
    """The real clock, `days` ahead."""

    days = 0

    def now(self) -> datetime:
        return super().now() + timedelta(days=self.days)


@pytest_asyncio.fixture
async def log(database: Database) -> AsyncIterator[Log]:
    log = Log(database, tables=chunks.TABLES)
    yield log
    await log.close()


def _opened(log: Log, clock: SystemClock | None = None) -> ChunkLog:
    return ChunkLog(log, clock=clock or SystemClock(), report=print)


def _frames(first: int, count: int, size: int = 1) -> list[bytes]:
    return [b"data: %d%s\n\n" % (n, b"x" * size) for n in range(first, first + count)]


async def _all(kept: ChunkLog, stream: Stream, *, after: int = 0) -> bytes:
    body = b""
    while (block := await kept.read(stream, after=after)).body:
        after, body = block.seq, body + block.body
    return body


async def test_what_was_said_is_read_from_memory_and_after_a_restart_from_the_disk(log: Log):
    kept = _opened(log)
    stream = kept.create(KEY)
    stream.snapshot = lambda: b"state"
    kept.append(stream, _frames(1, 3))
    assert await _all(kept, stream) == b"".join(_frames(1, 3))
    await kept.flush()
    kept.release(stream)
    again = _opened(log)
    async with again.held(KEY) as found:
        assert (found.last_seq, found.state, found.ended) == (3, b"state", False)
        assert await _all(again, found, after=1) == b"".join(_frames(2, 2))


async def test_a_stream_nobody_holds_leaves_memory_once_it_is_stored(log: Log):
    kept = _opened(log)
    stream = kept.create(KEY)
    kept.append(stream, _frames(1, 1))
    kept.release(stream)
    assert kept._streams
    await kept.flush()
    assert not kept._streams


async def test_a_follower_gets_what_comes(log: Log):
    kept = _opened(log)
    stream = kept.create(KEY)
    got: list[bytes] = []

    async def follow() -> None:
        got.extend([block.body async for block in kept.follow(stream)])

    async with asyncio.TaskGroup() as group:
        group.create_task(follow())
        await asyncio.sleep(0.01)
        kept.append(stream, _frames(1, 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        kept.append(stream, _frames(2, 1), ended=True)
    assert b"".join(got) == b"".join(_frames(1, 2))
    assert not stream.waiters


async def test_a_slow_reader_costs_no_memory_and_misses_nothing(
    log: Log, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunks, "RING_BYTES_MAX", 2_000)
    monkeypatch.setattr(chunks, "ROW_BYTES_MAX", 700)
    kept = _opened(log)
    stream = kept.create(KEY)
    slow = kept.follow(stream)
    body = b""
    for first in range(1, 1001, 50):
        kept.append(stream, _frames(first, 50, 20))
        await kept.flush()
        if first % 200 == 1:
            body += (await anext(slow)).body
    assert stream.recent_bytes < 6_000
    kept.append(stream, [], ended=True)
    async for block in slow:
        body += block.body
    assert body == b"".join(_frames(1, 1000, 20))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    acts=st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(0, 90)), max_size=15),
    after=st.integers(0, 60),
)
async def test_any_place_can_be_read_from_however_rows_were_cut(
    log: Log, monkeypatch: pytest.MonkeyPatch, acts, after
):
    monkeypatch.setattr(chunks, "RING_BYTES_MAX", 200)
    monkeypatch.setattr(chunks, "ROW_BYTES_MAX", 64)
    _Named.count += 1
    kept = _opened(log)
    stream = kept.create(("default", f"p{_Named.count}"))
    said: list[bytes] = []
    for count, flush, size in acts:
        more = _frames(len(said) + 1, count, size)
        said += more
        kept.append(stream, more)
        if flush:
            await kept.flush()
    place = min(after, len(said))
    assert await _all(kept, stream, after=place) == b"".join(said[place:])
    await kept.flush()


class _Named:
    count = 0


async def test_a_disk_that_refuses_loses_nothing(log: Log, monkeypatch: pytest.MonkeyPatch):
    kept = _opened(log)
    stream = kept.create(KEY)
    kept.append(stream, _frames(1, 2))
    real = log.commit

    async def refuse(_commit: object) -> int:
        raise Unavailable("No space.", where="log")

    monkeypatch.setattr(log, "commit", refuse)
    with pytest.raises(Unavailable):
        await kept.flush()
    kept.append(stream, _frames(3, 1))
    monkeypatch.setattr(log, "commit", real)
    await kept.flush()
    async with _opened(log).held(KEY) as found:
        assert found.last_seq == 3
    monkeypatch.setattr(chunks, "BACKLOG_BYTES_MAX", 10)
    kept.append(stream, _frames(4, 9))
    assert stream.congested


async def test_ended_streams_are_deleted_after_a_while_and_others_never(log: Log):
    clock = _Later()
    kept = _opened(log, clock)
    old, live = kept.create(KEY), kept.create(("default", "m2"))
    kept.append(old, _frames(1, 1), ended=True)
    kept.append(live, _frames(1, 1))
    await kept.flush()
    clock.days = chunks.RETENTION_DAYS + 1
    await kept.prune()
    again = _opened(log)
    async with again.held(KEY) as gone, again.held(("default", "m2")) as there:
        assert (gone.last_seq, there.last_seq) == (0, 1)


async def test_the_writer_stores_by_itself_and_at_the_end(log: Log):
    kept = _opened(log)
    kept.start()
    stream = kept.create(KEY)
    kept.append(stream, _frames(1, 1))
    async with asyncio.timeout(5):
        while not stream.stored_seq:
            await asyncio.sleep(0.01)
    kept.append(stream, _frames(2, 1))
    await kept.close()
    assert stream.stored_seq == 2
