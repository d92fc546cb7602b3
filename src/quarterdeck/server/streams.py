"""The streams of all missions: facts and what handlers say become chunks, stored and followed.

A mission that nobody follows and whose handlers stream nothing costs nothing: its stream can be
composed from the log at any time. Only what handlers say exists nowhere else, so from the first
word on it is stored, and so is the place in the log up to which facts are told. A process that
dies loses at most the last words of a step that is then interrupted, and says `reset-step`.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from quarterdeck.core.errors import Unavailable
from quarterdeck.core.events import EventType, Recorded
from quarterdeck.llm.chunks import Chunk, frame
from quarterdeck.llm.coalescer import WINDOW_S, Coalescer
from quarterdeck.llm.composer import Composer, State
from quarterdeck.server.mission_chunks import compose
from quarterdeck.storage.chunks import Block, ChunkLog, Key, Stream
from quarterdeck.storage.log import Log

PAGE = 1000
BACKLOG_MAX = 10_000
"""What may be heard and said while a stream is being opened; more of what is said is left out."""
FOLLOWERS_MAX = 4_000

Rested = Callable[[], Awaitable[bool]]


class Writer:
    """Composes and stores the stream of one mission, while anybody needs it."""

    def __init__(self, key: Key, on_held: Callable[[Writer], None]) -> None:
        self.key = key
        self._on_held = on_held
        self.followers = 0
        self.expected = False
        self.composer = Composer(key[1])
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._merger = Coalescer()
        self._kept: ChunkLog | None = None
        self._stream: Stream | None = None
        self._backlog: list[Recorded | tuple[str, Chunk]] = []

    @property
    def stream(self) -> Stream:
        """The stored stream of an open writer."""
        assert self._stream is not None, "the writer is not open yet"
        return self._stream

    @property
    def needed(self) -> bool:
        """Whether somebody follows, or a step that may go on saying something is at work."""
        if self._stream is None or self.followers:
            return True
        state = self.composer.state
        return bool(state.active) or (self.expected and not state.ended)

    def begin(self, kept: ChunkLog) -> None:
        """Start the stream of a mission that has just been submitted."""
        self._take(kept, kept.create(self.key))
        self.ready.set_result(None)

    async def open(self, kept: ChunkLog, log: Log, heard_seq: Callable[[], int]) -> None:
        """Take the stream up where it was left, and catch up with the facts since.

        What is heard and said meanwhile waits in the backlog, in order; facts are read from the
        log only up to where the backlog begins.
        """
        stream = await kept.hold(self.key)
        if stream.state:
            self.composer = Composer(self.key[1], State.from_bytes(stream.state))
        seq = self.composer.state.event_seq
        known: list[Recorded] = []
        full = True
        while full:
            page = await log.read(after=seq, workspace=self.key[0], mission=self.key[1], limit=PAGE)
            known += page
            full = len(page) == PAGE
            seq = page[-1].seq if page else seq
        first = next((one.seq for one in self._backlog if isinstance(one, Recorded)), None)
        end = heard_seq() if first is None else first - 1
        self._take(kept, stream)
        backlog = self._backlog
        self._backlog = []
        for recorded in known:
            if recorded.seq <= end:
                self.hear(recorded)
        for one in backlog:
            if isinstance(one, Recorded):
                self.hear(one)
            else:
                self.say(*one)

    def hear(self, recorded: Recorded) -> None:
        """A fact of the mission is durable."""
        if self._stream is None:
            self._backlog.append(recorded)
        elif recorded.seq > self.composer.state.event_seq:
            self.composer.state.event_seq = recorded.seq
            self._send(compose(self.composer, recorded.event))

    def say(self, step: str, chunk: Chunk) -> None:
        """A step's handler streams something."""
        if self._stream is None:
            if len(self._backlog) < BACKLOG_MAX:
                self._backlog.append((step, chunk))
        elif not (self._stream.congested and str(chunk.get("type")).endswith("-delta")):
            self._send(self.composer.say(step, chunk))

    def close(self) -> None:
        """Give the stream up; another writer can take it up."""
        if self._stream is None or self._kept is None:
            return
        self.flush()
        self._stream.state = self._snapshot()
        self._stream.snapshot = None
        self._kept.release(self._stream)

    def flush(self) -> None:
        """Send what was held back to be merged."""
        self._store(self._merger.flush(self._loop.time()))

    def _take(self, kept: ChunkLog, stream: Stream) -> None:
        self._kept, self._stream = kept, stream
        stream.snapshot = self._snapshot

    def _snapshot(self) -> bytes:
        return self.composer.state.as_bytes()

    def _send(self, sent: list[Chunk]) -> None:
        if not sent:
            return
        now_s = self._loop.time()
        add = self._merger.add
        if len(sent) == 1:
            self._store(add(sent[0], now_s))
        else:
            self._store([ready for chunk in sent for ready in add(chunk, now_s)])
        if self._merger.due_s is not None:
            self._on_held(self)

    def _store(self, ready: list[Chunk]) -> None:
        if ready and self._kept is not None:
            frames = [frame(chunk) for chunk in ready]
            self._kept.append(self.stream, frames, ended=self.composer.state.ended)


class Streams:
    """Writers for the missions that need one, and their followers."""

    def __init__(self, log: Log, kept: ChunkLog, *, report: Callable[[str], None]) -> None:
        self._log = log
        self._kept = kept
        self.report = report
        self._writers: dict[Key, Writer] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._heard_seq = 0
        self._followers = 0
        self._expected: set[Key] = set()
        self._held: set[Writer] = set()
        self.closing = False

    def start(self) -> None:
        """Listen to the log; before the engine moves anything."""
        self._heard_seq = self._log.last_seq
        self._log.listen(self._heard)
        self._kept.start()

    def interrupt(self) -> None:
        """End every answer now: the server is about to stop, and clients come back later."""
        self.closing = True
        self._kept.wake_all()

    async def close(self) -> None:
        """Store what was said; after the engine has stopped, before the log closes."""
        self.interrupt()
        if self._opening:
            await asyncio.wait(self._opening)
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
        await self._kept.close()

    def say(self, workspace: str, mission: str, step: str, chunk: Chunk) -> None:
        """What a step's handler streams; never fails, whatever is said."""
        key = (workspace, mission)
        writer = self._writers.get(key) or self._opened(key)
        try:
            writer.say(step, chunk)
        except Exception:  # noqa: BLE001 - a stream must not fail the step that feeds it
            self.report(f"stream of {mission}: {traceback.format_exc()}")

    def expect(self, key: Key) -> None:
        """A mission of this id is being submitted, and will be followed from its first fact on."""
        self._expected.add(key)

    def expect_no_more(self, key: Key) -> None:
        """It was not submitted."""
        self._expected.discard(key)

    async def is_stored(self, key: Key) -> bool:
        """Whether anything of the mission was ever streamed and is still kept."""
        if key in self._writers:
            return True
        async with self._kept.held(key) as stream:
            return stream.last_seq > 0

    @asynccontextmanager
    async def attached(self, key: Key) -> AsyncIterator[Writer]:
        """The mission's writer, caught up; it stays while anybody is attached.

        Raises:
            Unavailable: when the stream cannot be read, or too many are followed.
        """
        if self._followers >= FOLLOWERS_MAX:
            raise Unavailable(f"{FOLLOWERS_MAX} streams are followed already.", where="stream")
        writer = self._writers.get(key) or self._opened(key)
        writer.expected = False
        writer.followers += 1
        self._followers += 1
        try:
            await asyncio.shield(writer.ready)
            yield writer
        finally:
            writer.followers -= 1
            self._followers -= 1
            self._let_go(writer)

    def follow(
        self, writer: Writer, *, after: int = 0, rested: Rested | None = None
    ) -> AsyncGenerator[Block]:
        """The stream after a place, and what comes, until it ends or the server stops.

        With `rested`, also until the mission waits for somebody and `rested` agrees.
        """

        async def enough() -> bool:
            if self.closing:
                return True
            return rested is not None and writer.composer.resting and await rested()

        return self._kept.follow(writer.stream, after=after, enough=enough)

    def _opened(self, key: Key) -> Writer:
        writer = self._writers[key] = Writer(key, self._hold)
        task = asyncio.get_running_loop().create_task(self._open(writer), name=f"stream:{key[1]}")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return writer

    async def _open(self, writer: Writer) -> None:
        try:
            await writer.open(self._kept, self._log, lambda: self._heard_seq)
        except Exception:  # noqa: BLE001 - told to whoever follows; the mission goes on
            self.report(f"stream of {writer.key[1]}: {traceback.format_exc()}")
            del self._writers[writer.key]
            writer.ready.set_exception(Unavailable("The stream cannot be read.", where="stream"))
            writer.ready.exception()  # seen, even when nobody follows
        else:
            writer.ready.set_result(None)
            self._let_go(writer)

    def _heard(self, recorded: list[Recorded]) -> None:
        self._heard_seq = recorded[-1].seq
        if not self._writers and not self._expected:
            return
        for one in recorded:
            if one.event.type is EventType.MISSION_SUBMITTED and self._expected:
                self._begun((one.event.workspace, one.event.mission or ""))
            writer = self._writers.get((one.event.workspace, one.event.mission or ""))
            if writer is not None:
                self._tell(writer, one)

    def _begun(self, key: Key) -> None:
        if key in self._expected and key not in self._writers:
            writer = self._writers[key] = Writer(key, self._hold)
            writer.expected = True
            writer.begin(self._kept)
        self._expected.discard(key)

    def _hold(self, writer: Writer) -> None:
        """One beat for all streams: their frames leave together, with few turns of the loop."""
        if not self._held:
            asyncio.get_running_loop().call_later(WINDOW_S, self._beat)
        self._held.add(writer)

    def _beat(self) -> None:
        held, self._held = self._held, set[Writer]()
        for writer in held:
            writer.flush()

    def _tell(self, writer: Writer, recorded: Recorded) -> None:
        try:
            writer.hear(recorded)
        except Exception:  # noqa: BLE001 - a stream must not stop the log from telling others
            self.report(f"stream of {writer.key[1]}: {traceback.format_exc()}")
        self._let_go(writer)

    def _let_go(self, writer: Writer) -> None:
        if not writer.needed and self._writers.get(writer.key) is writer:
            del self._writers[writer.key]
            writer.close()
