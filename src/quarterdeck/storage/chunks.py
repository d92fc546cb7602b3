"""The stored chunk log: what a mission streams, kept to be replayed from the first frame (STR-1).

Streams are not events: they have tables of their own, and many frames make one row. What was just
said reaches those who follow from memory; the disk gets it, for all missions at once, a few times
a second through the log's writer. A reader is only a place in the stream: a slow one falls back to
reading the disk, so no reader holds memory of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from quarterdeck.core.clock import Clock, iso
from quarterdeck.core.errors import QuarterdeckError, Unavailable
from quarterdeck.storage.log import Commit, Log, Row, Statement

TABLES = (
    """CREATE TABLE IF NOT EXISTS chunk_stream (
        workspace TEXT NOT NULL,
        mission TEXT NOT NULL,
        last_seq BIGINT NOT NULL,
        state {blob} NOT NULL,
        ended_at TEXT,
        PRIMARY KEY (workspace, mission)
    )""",
    "CREATE INDEX IF NOT EXISTS chunk_stream_by_end ON chunk_stream (ended_at)",
    """CREATE TABLE IF NOT EXISTS chunk (
        workspace TEXT NOT NULL,
        mission TEXT NOT NULL,
        last_seq BIGINT NOT NULL,
        body {blob} NOT NULL,
        PRIMARY KEY (workspace, mission, last_seq)
    ) {clustered}""",
)

FLUSH_S = 0.2
RETRY_S = 1.0
ROW_BYTES_MAX = 64 * 1024
RING_BYTES_MAX = 256 * 1024
"""What memory keeps of a stream behind what the disk has, for those who follow closely."""
BACKLOG_BYTES_MAX = 8 * 1024 * 1024
PAGE_ROWS = 8
RETENTION_DAYS = 14
PRUNE_S = 3600.0

_PUT_ROW = "INSERT INTO chunk (workspace, mission, last_seq, body) VALUES (?, ?, ?, ?)"
_PUT_STREAM = (
    "INSERT INTO chunk_stream (workspace, mission, last_seq, state, ended_at) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (workspace, mission) DO UPDATE SET last_seq = excluded.last_seq,"
    " state = excluded.state, ended_at = excluded.ended_at"
)
_READ_ROWS = (
    "SELECT last_seq, body FROM chunk WHERE workspace = ? AND mission = ? AND last_seq > ?"
    " ORDER BY last_seq LIMIT ?"
)
_READ_STREAM = (
    "SELECT last_seq, state, ended_at FROM chunk_stream WHERE workspace = ? AND mission = ?"
)
_PRUNE_ROWS = (
    "DELETE FROM chunk WHERE EXISTS (SELECT 1 FROM chunk_stream s WHERE s.ended_at < ?"
    " AND s.workspace = chunk.workspace AND s.mission = chunk.mission)"
)
_PRUNE_STREAMS = "DELETE FROM chunk_stream WHERE ended_at < ?"

Key = tuple[str, str]
"""A mission's workspace and id."""


class Block(NamedTuple):
    """Frames in order, joined; `seq` is the place of the last one. Empty when nothing came."""

    seq: int
    body: bytes


@dataclass(slots=True)
class Stream:
    """A stream that somebody writes or follows; frames are numbered 1, 2, 3…

    `recent` are the newest frames, up to `last_seq`; those after `stored_seq` are not on the disk
    yet. `snapshot` gives the writer's state as of `last_seq`.
    """

    key: Key
    last_seq: int = 0
    stored_seq: int = 0
    state: bytes = b""
    ended: bool = False
    snapshot: Callable[[], bytes] | None = None
    recent: list[bytes] = field(default_factory=list)
    recent_bytes: int = 0
    backlog_bytes: int = 0
    users: int = 0
    waiters: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def first_seq(self) -> int:
        """The place of the oldest frame in memory; one past the end when there is none."""
        return self.last_seq - len(self.recent) + 1

    @property
    def congested(self) -> bool:
        """Whether the disk is so far behind that what can be left out should be."""
        return self.backlog_bytes > BACKLOG_BYTES_MAX

    def wake(self) -> None:
        """Have everybody who waits look again."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()

    async def next(self) -> None:
        """Wait until more comes, or somebody wakes whoever waits."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):
                self.waiters.remove(waiter)
            raise


class ChunkLog:
    """Every mission's stream."""

    def __init__(self, log: Log, *, clock: Clock, report: Callable[[str], None]) -> None:
        self._log = log
        self._clock = clock
        self._report = report
        self._streams: dict[Key, Stream] = {}
        self._loading: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._dirty: dict[Key, Stream] = {}
        self._stirred = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write what comes; streams that ended long ago are deleted now and then."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._write(), name="chunks")

    async def close(self) -> None:
        """Write what is left, and stop."""
        self._closing.set()
        self._stirred.set()
        if self._task is not None:
            await self._task

    def create(self, key: Key) -> Stream:
        """The stream of a mission that is new; held until `release`."""
        stream = self._streams.setdefault(key, Stream(key))
        stream.users += 1
        return stream

    async def hold(self, key: Key) -> Stream:
        """The stream of a mission, new or stored; held until `release`."""
        async with self._loading[key]:
            stream = self._streams.get(key)
            if stream is None:
                stream = await self._load(key)
                stream = self._streams.setdefault(key, stream)
            stream.users += 1
        self._loading.pop(key, None)
        return stream

    def release(self, stream: Stream) -> None:
        """Give it up; nothing of it stays in memory when nobody else holds it."""
        stream.users -= 1
        self._let_go(stream)

    @asynccontextmanager
    async def held(self, key: Key) -> AsyncIterator[Stream]:
        """`hold` and `release`."""
        stream = await self.hold(key)
        try:
            yield stream
        finally:
            self.release(stream)

    def append(self, stream: Stream, frames: Sequence[bytes], *, ended: bool = False) -> None:
        """Add frames: those who follow get them now, the disk soon."""
        size = len(frames[0]) if len(frames) == 1 else sum(map(len, frames))
        stream.recent.extend(frames)
        stream.recent_bytes += size
        stream.backlog_bytes += size
        stream.last_seq += len(frames)
        stream.ended = stream.ended or ended
        self._dirty[stream.key] = stream
        self._stirred.set()
        stream.wake()

    async def read(self, stream: Stream, *, after: int) -> Block:
        """The next frames after a place: all that memory has, or a page from the disk."""
        if after + 1 >= stream.first_seq:
            fresh = stream.recent[after + 1 - stream.first_seq :]
            return Block(max(after, stream.last_seq), b"".join(fresh))
        rows = await self._log.db.fetch_all(_READ_ROWS, (*stream.key, after, PAGE_ROWS))
        if not rows:
            raise Unavailable("Part of the stream is not stored.", where="stream")
        first, body = rows[0], b"".join(bytes(row["body"]) for row in rows)
        known = after - (first["last_seq"] - bytes(first["body"]).count(b"\n\n"))
        return Block(rows[-1]["last_seq"], _without(body, known))

    async def follow(
        self,
        stream: Stream,
        *,
        after: int = 0,
        enough: Callable[[], Awaitable[bool]] | None = None,
    ) -> AsyncGenerator[Block]:
        """Everything after a place, then what comes, until the stream has ended.

        `enough` is asked whenever there is nothing more to read, and can end it sooner.
        """
        while True:
            if stream.last_seq > after:
                block = await self.read(stream, after=after)
                after = block.seq
                yield block
            elif stream.ended or (enough is not None and await enough()):
                return
            elif stream.last_seq == after:
                await stream.next()

    def wake_all(self) -> None:
        """Have everybody who follows look again."""
        for stream in self._streams.values():
            stream.wake()

    async def flush(self) -> None:
        """Write what is not on the disk yet.

        Raises:
            Unavailable: when the disk refuses; it is kept in memory then.
        """
        dirty = self._dirty
        self._dirty = {}
        commit = Commit()
        reached: list[tuple[Stream, int, int]] = []
        for stream in dirty.values():
            reached.append((stream, stream.last_seq, stream.backlog_bytes))
            commit.rows += _rows(stream)
            commit.script.append(self._stream_statement(stream))
        try:
            if dirty:
                await self._log.commit(commit)
        except BaseException:
            self._dirty = {**dirty, **self._dirty}
            raise
        for stream, seq, size in reached:
            stream.stored_seq = seq
            stream.backlog_bytes -= size
            _trim(stream)
            self._let_go(stream)

    async def prune(self) -> None:
        """Delete the streams of missions that ended `RETENTION_DAYS` ago."""
        before = iso(self._clock.now() - timedelta(days=RETENTION_DAYS))
        await self._log.commit(
            Commit(script=[(_PRUNE_ROWS, (before,)), (_PRUNE_STREAMS, (before,))])
        )

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        prune_at_s = loop.time()
        while not self._closing.is_set():
            try:
                if loop.time() >= prune_at_s:
                    prune_at_s = loop.time() + PRUNE_S
                    await self.prune()
                await _within(self._stirred, prune_at_s - loop.time())
                await _within(self._closing, FLUSH_S)
                self._stirred.clear()
                await self.flush()
            except QuarterdeckError as error:
                self._report(f"chunks: {error}")
                self._stirred.set()
                await _within(self._closing, RETRY_S)

    async def _load(self, key: Key) -> Stream:
        row = await self._log.db.fetch_one(_READ_STREAM, key)
        if row is None:
            return Stream(key)
        seq = row["last_seq"]
        return Stream(key, seq, seq, bytes(row["state"]), row["ended_at"] is not None)

    def _let_go(self, stream: Stream) -> None:
        stored = stream.stored_seq == stream.last_seq
        if not stream.users and stored and self._streams.get(stream.key) is stream:
            del self._streams[stream.key]

    def _stream_statement(self, stream: Stream) -> Statement:
        if stream.snapshot is not None:
            stream.state = stream.snapshot()
        ended_at = iso(self._clock.now()) if stream.ended else None
        return _PUT_STREAM, (*stream.key, stream.last_seq, stream.state, ended_at)


async def _within(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), max(0.0, seconds))


def _rows(stream: Stream) -> list[Row]:
    """The frames that are not on the disk yet, in rows of bounded size."""
    rows: list[Row] = []
    seq, size = stream.stored_seq, 0
    held: list[bytes] = []
    for frame in stream.recent[stream.stored_seq + 1 - stream.first_seq :]:
        if held and size + len(frame) > ROW_BYTES_MAX:
            rows.append(_row(stream, seq, held))
            held, size = list[bytes](), 0
        held.append(frame)
        seq, size = seq + 1, size + len(frame)
    if held:
        rows.append(_row(stream, seq, held))
    return rows


def _row(stream: Stream, seq: int, held: list[bytes]) -> Row:
    return Row(_PUT_ROW, (*stream.key, str(seq)), (*stream.key, seq, b"".join(held)))


def _trim(stream: Stream) -> None:
    """Forget old frames that the disk has; in large bites, so that it costs little."""
    if stream.recent_bytes <= 2 * RING_BYTES_MAX:
        return
    count = 0
    stored = stream.stored_seq - stream.first_seq + 1
    while count < stored and stream.recent_bytes > RING_BYTES_MAX:
        stream.recent_bytes -= len(stream.recent[count])
        count += 1
    del stream.recent[:count]


def _without(body: bytes, count: int) -> bytes:
    """The frames but for the first `count`."""
    place = 0
    for _ in range(count):
        place = body.index(b"\n\n", place) + 2
    return body[place:]
