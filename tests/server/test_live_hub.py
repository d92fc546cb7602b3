"""Replay and follow: no gap and no duplicate, whatever the order in which things happen."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quarterdeck.core.events import Event, EventType
from quarterdeck.server import live_hub
from quarterdeck.server.live_hub import Hub, Subscription
from quarterdeck.server.live_protocol import Frame
from quarterdeck.storage.db import Database
from quarterdeck.storage.log import Commit, Log
from quarterdeck.storage.sealed import SealedEvents, Wanted

pytestmark = pytest.mark.req("RUN-5")

MISSIONS = ("m1", "m2", "m3")
EVERYTHING = Wanted("default")
ONE = Wanted("default", frozenset(["m1"]))
TWO = Wanted("default", frozenset(["m1", "m2"]))
TYPE = Wanted("default", None, frozenset(["step.finished"]))


def _event(mission: str, *, size: int = 0, workspace: str = "default") -> Event:
    kind = EventType.STEP_FINISHED if mission == "m3" else EventType.STEP_PROGRESSED
    at = "2026-01-01T00:00:00.000Z"
    return Event(kind, at, workspace, "system", mission, "s", {"text": "x" * size})


class Reader:
    """A client of a certain patience: it takes `room` frames, then none until it is given more."""

    def __init__(self, hub: Hub, wanted: Wanted, after: int) -> None:
        self.room = 2
        self.seen: list[int] = []
        self._hub = hub
        self.subscription: Subscription = hub.join(wanted, after, self._write)

    def _write(self, frame: Frame) -> bool:
        if self.room == 0:
            return False
        self.room -= 1
        self.seen += [int(part.split(b",")[0]) for part in frame.payload.split(b'{"seq":')[1:]]
        return True

    async def read(self, room: int) -> None:
        """Take up to `room` frames more, one page of them if it is behind."""
        self.room += room
        if not self._hub.settle(self.subscription):
            page = await self._hub.page(self.subscription, limit=4)
            for frame in live_hub.event_frames(page.events, page.seq):
                if not self._write(frame):
                    return
                self.subscription.seq = frame.seq
            self.subscription.seq = page.seq

    async def read_all(self) -> None:
        self.room = 1_000_000
        while not self._hub.settle(self.subscription):
            await self.read(0)


STEPS = st.one_of(
    st.tuples(st.just("commit"), st.lists(st.sampled_from(MISSIONS), min_size=1, max_size=4)),
    st.tuples(st.just("happen"), st.lists(st.sampled_from(MISSIONS), min_size=1, max_size=4)),
    st.tuples(st.just("join"), st.sampled_from((EVERYTHING, ONE, TWO, TYPE)), st.integers(0, 30)),
    st.tuples(st.just("read"), st.integers(0, 9), st.integers(0, 3)),
    st.tuples(st.just("read all"), st.integers(0, 9)),
    st.tuples(st.just("reconnect"), st.integers(0, 9)),
    st.tuples(st.just("turn"), st.integers(1, 3)),
)


class Play:
    """A log, its hub, whose turns come when the play says so, and some readers."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.hub = Hub(log)
        self._turn = self.hub._turn
        self.hub._turn = lambda: None
        self.told: list[asyncio.Future[int]] = []
        self.readers: list[tuple[Reader, Wanted, int]] = []
        for wanted in (EVERYTHING, EVERYTHING, ONE):
            self.join(wanted, 0)
            assert self.hub.settle(self.readers[-1][0].subscription)

    def join(self, wanted: Wanted, after: int) -> None:
        after = min(after, self.hub.head)
        self.readers.append((Reader(self.hub, wanted, after), wanted, after))

    def reconnect(self, which: int) -> None:
        old, wanted, after = self.readers.pop(which % len(self.readers))
        self.hub.leave(old.subscription)
        fresh = Reader(self.hub, wanted, old.seen[-1] if old.seen else after)
        fresh.seen = old.seen
        self.readers.append((fresh, wanted, after))

    async def do(self, step: tuple) -> None:
        match step:
            case ("commit", missions):
                commit = Commit([_event(mission) for mission in missions])
                self.told.append(asyncio.ensure_future(self.log.commit(commit)))
            case ("happen", missions):
                # Durable and heard of; that readers are told begins with the next turn.
                await self.log.commit(Commit([_event(mission) for mission in missions]))
            case ("join", wanted, after):
                self.join(wanted, after)
            case ("read", which, room):
                await self.readers[which % len(self.readers)][0].read(room)
            case ("read all", which):
                await self.readers[which % len(self.readers)][0].read_all()
            case ("reconnect", which):
                self.reconnect(which)
            case ("turn", count):
                for _ in range(count):
                    self._turn()

    async def check(self) -> None:
        await asyncio.gather(*self.told)
        while self.hub._told < self.hub.head:
            self._turn()
        stored = SealedEvents(self.log.db)
        for reader, wanted, after in self.readers:
            await reader.read_all()
            right = await stored.page(wanted, after=after, until=self.hub.head)
            assert reader.seen == [event.seq for event in right.events]
            self.hub.leave(reader.subscription)
        assert not self.hub.followers
        assert not self.hub._by_mission
        assert not self.hub._by_workspace
        assert not self.hub._recent


async def _play(root: Path, steps: list[tuple]) -> None:
    db = Database(root / "journal.db")
    log = Log(db)
    try:
        play = Play(log)
        for step in steps:
            await play.do(step)
        await play.check()
    finally:
        await log.close()
        db.close()


@pytest.mark.slow
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=40))
def test_every_reader_sees_each_event_once_and_in_order(steps):
    with TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder), steps))


@pytest.mark.slow
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(STEPS, max_size=40), kept=st.sampled_from((1, 3, 100)), turn=st.integers(1, 2)
)
def test_so_it_is_when_hardly_anything_is_remembered(steps, kept, turn):
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_hub, "RECENT_EVENTS_MAX", kept)
        patch.setattr(live_hub, "WRITES_PER_TURN", turn)
        asyncio.run(_play(Path(folder), steps))


@pytest.fixture
async def log(tmp_path: Path):
    db = Database(tmp_path / "journal.db")
    log = Log(db)
    yield log
    await log.close()
    db.close()


async def _told(hub: Hub) -> None:
    while hub._told < hub.head:
        await asyncio.sleep(0)


async def test_a_frame_is_made_once_for_all_who_want_the_same(log: Log):
    hub = Hub(log)
    frames: list[Frame] = []
    readers = [hub.join(EVERYTHING, 0, lambda frame: not frames.append(frame)) for _ in range(50)]
    assert all(hub.settle(reader) for reader in readers)
    await log.commit(Commit([_event("m1"), _event("m2")]))
    await _told(hub)
    assert len(frames) == 50
    assert len({id(frame) for frame in frames}) == 1


async def test_what_is_remembered_is_bounded(log: Log):
    hub = Hub(log)
    slow = Reader(hub, EVERYTHING, 0)
    slow.room = 0
    for _ in range(6):
        await log.commit(Commit([_event("m1", size=60_000) for _ in range(40)]))
    await _told(hub)
    assert hub._recent_bytes <= live_hub.RECENT_BYTES_MAX
    assert len(hub._recent) < 240
    await slow.read_all()
    assert slow.seen == list(range(1, 241))


async def test_nothing_is_remembered_for_nobody(log: Log):
    hub = Hub(log)
    await log.commit(Commit([_event("m1") for _ in range(10)]))
    assert hub.head == 10
    assert not hub._recent


async def test_one_who_does_not_read_stops_nobody(log: Log):
    hub = Hub(log)
    slow, quick = Reader(hub, EVERYTHING, 0), Reader(hub, EVERYTHING, 0)
    slow.room, quick.room = 0, 10
    assert hub.settle(slow.subscription)
    assert hub.settle(quick.subscription)
    for _ in range(3):
        await log.commit(Commit([_event("m1")]))
        await _told(hub)
    assert (slow.seen, quick.seen) == ([], [1, 2, 3])
    assert slow.subscription.behind.is_set()
    await slow.read_all()
    assert slow.seen == [1, 2, 3]


async def test_a_rare_type_is_found_however_long_the_log(log: Log, monkeypatch):
    monkeypatch.setattr("quarterdeck.storage.sealed.SCAN_MAX", 7)
    hub = Hub(log)
    await log.commit(Commit([*(_event("m1") for _ in range(30)), _event("m3")]))
    reader = Reader(hub, TYPE, 0)
    await reader.read_all()
    assert reader.seen == [31]


async def test_other_workspaces_stay_apart(log: Log):
    hub = Hub(log)
    reader = Reader(hub, ONE, 0)
    reader.room = 10
    assert hub.settle(reader.subscription)
    await log.commit(Commit([_event("m1", workspace="theirs"), _event("m1")]))
    await _told(hub)
    assert reader.seen == [2]


async def test_who_comes_while_others_are_told_gets_all_once(log: Log, monkeypatch):
    monkeypatch.setattr(live_hub, "WRITES_PER_TURN", 1)
    play = Play(log)
    one, two, three = (reader for reader, _, _ in play.readers)
    await play.do(("happen", ["m1", "m1"]))
    await play.do(("turn", 1))
    assert [reader.seen for reader in (one, two, three)] == [[1, 2], [], []]
    await play.do(("happen", ["m1"]))
    play.hub.fall_behind(two.subscription)
    await play.do(("read all", 1))
    await play.do(("join", EVERYTHING, 0))
    await play.do(("read all", 3))
    assert two.seen == [1, 2, 3]
    await play.do(("happen", ["m1"]))
    await play.check()
