"""The one fan-out of new events to all who follow the log live.

Each event is made into bytes once and each frame once for all who want the same. Nobody has a queue:
the newest events are remembered once, in `_recent`; who cannot take a frame at once keeps only its
place and later reads on from there, from memory or from the log. So nobody is waited for, nothing
grows, and nothing is lost. All methods run on the log's loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from quarterdeck.core.events import Recorded
from quarterdeck.server.live_protocol import Frame, event_frames
from quarterdeck.storage.log import Log
from quarterdeck.storage.sealed import PAGE_MAX, Page, SealedEvent, SealedEvents, Wanted, sealed

RECENT_EVENTS_MAX = 4096
RECENT_BYTES_MAX = 8 * 1024 * 1024
PAGE_BYTES_MAX = 256 * 1024
READS_MAX = 2
"""Pages read from the log at once; the other readers of the database are for the API."""
WRITES_PER_TURN = 128
"""Frames handed out before the loop serves others: about a millisecond."""


class Subscription:
    """One reader and its place; `write` takes a frame at once or says False.

    A live reader gets frames from the hub. One that is not has `behind` set and reads for itself.
    """

    def __init__(self, wanted: Wanted, after: int, write: Callable[[Frame], bool]) -> None:
        self.wanted = wanted
        self.seq = after
        self.write = write
        self.live = False
        self.behind = asyncio.Event()
        self.behind.set()


class _Batch:
    """What one group of readers wants of the newest events, in frames made once."""

    def __init__(self, after: int, until: int) -> None:
        self.events: list[SealedEvent] = []
        self.after = after
        self.until = until
        self._frames: dict[int, list[Frame]] = {}

    def frames(self, seq: int) -> list[Frame]:
        """The frames for a reader that has seen all up to `seq`."""
        place = max(seq, self.after)
        if place not in self._frames:
            rest = [event for event in self.events if event.seq > place]
            self._frames[place] = list(event_frames(rest, self.until))
        return self._frames[place]


class Hub:
    """Who follows the log, and how far everybody has been told."""

    def __init__(self, log: Log) -> None:
        self._stored = SealedEvents(log.db)
        self._reading = asyncio.Semaphore(READS_MAX)
        self._groups: dict[Wanted, dict[Subscription, None]] = {}
        self._by_mission: dict[tuple[str, str], dict[Wanted, None]] = {}
        self._by_workspace: dict[str, dict[Wanted, None]] = {}
        self._recent: deque[SealedEvent] = deque()
        self._recent_bytes = 0
        self._recent_after = self._told = self.head = log.last_seq
        self._work: Iterator[None] | None = None
        self.writes = 0
        log.listen(self._heard)

    def join(self, wanted: Wanted, after: int, write: Callable[[Frame], bool]) -> Subscription:
        """Follow from a place; `leave` must be called in the end."""
        subscription = Subscription(wanted, after, write)
        if wanted not in self._groups:
            self._groups[wanted] = {}
            for index in self._indices(wanted):
                index[wanted] = None
        self._groups[wanted][subscription] = None
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Follow no longer."""
        subscription.live = False
        group = self._groups[subscription.wanted]
        del group[subscription]
        if not group:
            del self._groups[subscription.wanted]
            self._unindex(subscription.wanted)
        if not self._groups:
            self._forget()

    @property
    def followers(self) -> int:
        """How many follow now."""
        return sum(len(group) for group in self._groups.values())

    async def reaches(self, seq: int) -> bool:
        """Whether the log has come as far as `seq`."""
        return seq <= self.head or await self._stored.reaches(seq)

    def settle(self, subscription: Subscription) -> bool:
        """Make the reader live if nothing that it wants is missing; whether it is live."""
        page = self._remembered(subscription)
        if page is None or page.events:
            return False
        subscription.seq = page.seq
        subscription.live = True
        return True

    async def page(self, subscription: Subscription, *, limit: int = PAGE_MAX) -> Page:
        """The next events for a reader that is not live, from memory or from the log.

        At most `limit` events from the log, or about `PAGE_BYTES_MAX` from memory.
        """
        remembered = self._remembered(subscription)
        if remembered is not None:
            return remembered
        async with self._reading:
            wanted, after = subscription.wanted, subscription.seq
            until = max(self.head, after)
            return await self._stored.page(wanted, after=after, until=until, limit=limit)

    def place(self, subscription: Subscription) -> int:
        """The place up to which the reader misses nothing."""
        if subscription.live:
            subscription.seq = max(subscription.seq, self._told)
        return subscription.seq

    def fall_behind(self, subscription: Subscription) -> None:
        """Let the reader go on by itself, from its place."""
        if subscription.live:
            subscription.seq = self.place(subscription)
            subscription.live = False
            subscription.behind.set()

    def _remembered(self, subscription: Subscription) -> Page | None:
        after = subscription.seq
        if after < self._recent_after:
            return None
        if after >= self.head:
            return Page([], after)
        takes = subscription.wanted.takes
        events: list[SealedEvent] = []
        size = 0
        for event in self._newer(after):
            if takes(event):
                events.append(event)
                size += len(event.json)
                if size > PAGE_BYTES_MAX:
                    return Page(events, event.seq)
        return Page(events, self.head)

    def _newer(self, after: int) -> Iterator[SealedEvent]:
        """What is remembered behind a place; every number is there, so it is found by counting."""
        return islice(self._recent, max(0, after - self._recent_after), None)

    def _heard(self, recorded: list[Recorded]) -> None:
        news = [one for one in recorded if one.seq > self.head]
        if not news:
            return
        gap = news[0].seq > self.head + 1
        self.head = news[-1].seq
        if not self._groups:
            self._forget()
            return
        if gap:
            self._recent.clear()
            self._recent_bytes, self._recent_after = 0, news[0].seq - 1
        for one in news:
            event = sealed(one)
            self._recent.append(event)
            self._recent_bytes += len(event.json)
        self._trim()
        if self._work is None:
            self._work = self._tell_all()
            asyncio.get_running_loop().call_soon(self._turn)

    def _trim(self) -> None:
        recent = self._recent
        while len(recent) > RECENT_EVENTS_MAX or self._recent_bytes > RECENT_BYTES_MAX:
            oldest = recent.popleft()
            self._recent_bytes -= len(oldest.json)
            self._recent_after = oldest.seq

    def _forget(self) -> None:
        self._recent.clear()
        self._recent_bytes = 0
        self._recent_after = self._told = self.head
        self._work = None

    def _turn(self) -> None:
        """Hand out some frames, then let the loop serve others before going on."""
        work = self._work
        if work is None:
            return
        self._work = None
        for _ in islice(work, WRITES_PER_TURN):
            pass
        if self._told < self.head:
            self._work = work
            asyncio.get_running_loop().call_soon(self._turn)

    def _tell_all(self) -> Iterator[None]:
        while self._told < self.head:
            if self._told < self._recent_after:
                self._skip()
            after, until = self._told, self.head
            for wanted, batch in self._batches(after, until).items():
                for subscription in tuple(self._groups.get(wanted, ())):
                    self._tell(subscription, batch)
                    yield
            self._told = until

    def _skip(self) -> None:
        """More came than is remembered: everybody reads what is missing from the log."""
        for group in self._groups.values():
            for subscription in group:
                self.fall_behind(subscription)
        self._told = self._recent_after

    def _batches(self, after: int, until: int) -> dict[Wanted, _Batch]:
        batches: dict[Wanted, _Batch] = {}
        for event in self._newer(after):
            for wanted in self._wanting(event):
                if wanted not in batches:
                    batches[wanted] = _Batch(after, until)
                batches[wanted].events.append(event)
        return batches

    def _wanting(self, event: SealedEvent) -> Iterator[Wanted]:
        groups = self._by_workspace.get(event.workspace, {})
        yield from (wanted for wanted in groups if wanted.takes(event))
        if event.mission is not None:
            groups = self._by_mission.get((event.workspace, event.mission), {})
            yield from (wanted for wanted in groups if wanted.takes(event))

    def _tell(self, subscription: Subscription, batch: _Batch) -> None:
        if not subscription.live or subscription.seq >= batch.until:
            return
        for frame in batch.frames(subscription.seq):
            if not subscription.write(frame):
                self.fall_behind(subscription)
                return
            self.writes += 1
            subscription.seq = frame.seq
        subscription.seq = batch.until

    def _indices(self, wanted: Wanted) -> list[dict[Wanted, None]]:
        if wanted.missions is None:
            return [self._by_workspace.setdefault(wanted.workspace, {})]
        keys = ((wanted.workspace, mission) for mission in wanted.missions)
        return [self._by_mission.setdefault(key, {}) for key in keys]

    def _unindex(self, wanted: Wanted) -> None:
        for index in self._indices(wanted):
            del index[wanted]
        for mission in wanted.missions or ():
            if not self._by_mission[wanted.workspace, mission]:
                del self._by_mission[wanted.workspace, mission]
        if not self._by_workspace.get(wanted.workspace, True):
            del self._by_workspace[wanted.workspace]
