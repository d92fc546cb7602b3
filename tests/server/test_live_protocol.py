"""The words of the live protocol: what fits is understood, all else is told what would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from quarterdeck.core.errors import InvalidInput, NotFound, TooLarge, Unavailable
from quarterdeck.server.live_protocol import (
    CLIENT_FRAME_BYTES_MAX,
    FRAME_BYTES_MAX,
    Bucket,
    Frame,
    Subscribe,
    asked,
    close_code,
    close_reason,
    event_frames,
    said,
)
from quarterdeck.storage.sealed import SealedEvent, numbered

pytestmark = pytest.mark.req("RUN-5")


@given(st.integers(0, 70_000) | st.sampled_from([125, 126, 65_535, 65_536]))
def test_another_implementation_reads_the_frames(size):
    payload = b"x" * size
    reader = Protocol(CLIENT, state=OPEN, max_size=None)
    reader.receive_data(Frame(payload, seq=1).wire)
    (frame,) = reader.events_received()
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, payload)


@given(st.lists(st.integers(2, FRAME_BYTES_MAX + 10), max_size=12))
def test_frames_hold_all_events_in_order_and_stay_small(sizes):
    events = [
        SealedEvent(seq, "w", None, "t", b"%d" % seq + b" " * size)
        for seq, size in enumerate(sizes, 1)
    ]
    frames = list(event_frames(events, 99))
    joined = b",".join(frame.payload.split(b"[", 1)[1].rsplit(b"]", 1)[0] for frame in frames)
    assert joined == b",".join(event.json for event in events)
    assert [frame.seq for frame in frames] == sorted(frame.seq for frame in frames)
    assert not frames or frames[-1].seq == 99
    for frame in frames:
        alone = b"," not in frame.payload.split(b"[", 1)[1].rsplit(b"]", 1)[0]
        assert alone or len(frame.payload) < FRAME_BYTES_MAX + 200


def test_an_event_gets_its_place_as_first_member():
    assert numbered(7, b'{"type":"x"}') == b'{"seq":7,"type":"x"}'


def test_a_subscription_is_understood():
    heard = said('{"type":"subscribe","after":3,"missions":["a","b","a"],"types":["step.failed"]}')
    assert isinstance(heard, Subscribe)
    assert (heard.after, heard.missions) == (3, {"a", "b"})
    assert asked([("after", "3"), ("mission", "a"), ("mission", "b")]).missions == {"a", "b"}
    assert asked([]).after is None


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "frame"),
        ("[]", "frame"),
        ("{}", "frame"),
        ("[" * 60_000, "frame"),
        ('{"type":"publish"}', "frame"),
        ('{"type":"subscribe","after":-1}', "after"),
        ('{"type":"subscribe","after":1.5}', "after"),
        ('{"type":"subscribe","after":NaN}', "after"),
        ('{"type":"subscribe","after":1e999}', "after"),
        ('{"type":"subscribe","missions":[]}', "missions"),
        ('{"type":"subscribe","missions":["../x"]}', "missions"),
        ('{"type":"subscribe","types":["made.up"]}', "types"),
        ('{"type":"subscribe","more":1}', "more"),
        ('{"type":"subscribe","token":""}', "token"),
        (b"\xff\xfe", "frame"),
    ],
)
def test_what_does_not_fit_is_named(text, where):
    with pytest.raises(InvalidInput) as error:
        said(text)
    assert (error.value.where or "").startswith(where)
    assert error.value.hint
    assert len(error.value.message) <= 500


@given(st.text() | st.binary())
def test_no_frame_does_harm(text):
    with pytest.raises(InvalidInput):
        said(text)


def test_a_long_frame_is_not_read():
    with pytest.raises(TooLarge):
        said(" " * (CLIENT_FRAME_BYTES_MAX + 1))


def test_errors_have_close_codes():
    codes = [close_code(kind("x")) for kind in (InvalidInput, NotFound, TooLarge, Unavailable)]
    assert codes == [4422, 4404, 1009, 1013]


@given(st.text())
def test_a_close_reason_fits_into_its_frame(text):
    assert len(close_reason(text).encode()) <= 123


@given(st.lists(st.floats(0, 10), max_size=50))
def test_a_bucket_never_gives_more_than_it_holds(times):
    bucket = Bucket(per_s=2, burst=5, now_s=0.0)
    taken = sum(bucket.take(now_s) for now_s in sorted(times))
    assert taken <= 5 + 2 * max(times, default=0)
