"""What clients and server say to each other on a live WebSocket; pure.

Frames are JSON texts. The same events, byte for byte, come over the polling twin.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from quarterdeck.core.errors import InvalidInput, QuarterdeckError, TooLarge, Unavailable
from quarterdeck.core.events import EventType, Json
from quarterdeck.core.ids import MissionId
from quarterdeck.core.validated import invalid
from quarterdeck.storage.sealed import SealedEvent

CLIENT_FRAME_BYTES_MAX = 64 * 1024
"""A longer frame of a client is refused before it is read."""
FRAME_BYTES_MAX = 64 * 1024
"""Frames of events are closed at this size; one larger event travels alone."""
MISSIONS_MAX = 200
"""Missions that one socket may name."""
MESSAGES_PER_S = 10
MESSAGES_BURST = 40
REASON_BYTES_MAX = 123
"""RFC 6455 §5.5: a control frame carries 125 bytes, two of them the code."""


class TooMany(QuarterdeckError):
    """More of something at once than one caller may have."""

    status = 429
    title = "Too many"


Place = Annotated[int, Field(ge=0, le=2**53 - 1, description="The last `seq` that was seen.")]
Missions = Annotated[frozenset[MissionId], Field(min_length=1, max_length=MISSIONS_MAX)]
Types = Annotated[frozenset[EventType], Field(min_length=1, max_length=len(EventType))]


class Subscribe(BaseModel):
    """What a socket wants from now on, and from which place; the first one may bring the token.

    Left out, `after` means: new events only; `missions` and `types`: all of them.
    """

    model_config = ConfigDict(extra="forbid")

    type: Literal["subscribe"]
    token: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    after: Place | None = None
    missions: Missions | None = None
    types: Types | None = None


class Ping(BaseModel):
    """Asks for a heartbeat now."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["ping"]


_SAID = TypeAdapter[Subscribe | Ping](Annotated[Subscribe | Ping, Field(discriminator="type")])
_QUERY_HINT = "Give for example ?after=0&mission=m1."
_HINT = 'Send for example {"type": "subscribe", "after": 0, "missions": ["m1"]}.'


def said(text: str | bytes) -> Subscribe | Ping:
    """What a client's frame says.

    Raises:
        TooLarge: over `CLIENT_FRAME_BYTES_MAX`.
        InvalidInput: not JSON, or not a message of this protocol.
    """
    if len(text) > CLIENT_FRAME_BYTES_MAX:
        raise TooLarge(f"A frame may have {CLIENT_FRAME_BYTES_MAX} bytes.", where="frame")
    try:
        return _SAID.validate_json(text)
    except ValidationError as error:
        raise _unfit(error, "frame", _HINT) from None


def asked(query: Iterable[tuple[str, str]]) -> Subscribe:
    """What a socket's address asks for: `after`, and `mission` and `type` as often as needed.

    Raises:
        InvalidInput: naming the parameter that does not fit.
    """
    fields: dict[str, Json] = {"type": "subscribe"}
    for name, value in query:
        if name in {"mission", "type"}:
            fields.setdefault(f"{name}s", []).append(value)
        elif name == "after" and name not in fields:
            fields[name] = value
        else:
            hint = "Send the token as a header or in the first message."
            raise InvalidInput(
                f"{name[:50]!r} is unknown or given twice.",
                where="query",
                hint=hint if "token" in name else _QUERY_HINT,
            )
    try:
        return Subscribe.model_validate(fields)
    except ValidationError as error:
        raise _unfit(error, "query", _QUERY_HINT) from None


def _unfit(error: ValidationError, place: str, hint: str) -> InvalidInput:
    found = invalid(error)
    where = (found.where or "").removeprefix("subscribe").lstrip(".")
    return InvalidInput(found.message[:500], where=where[:100] or place, hint=hint)


class Frame:
    """One message of the server, made once for all who get it.

    `seq` is the reader's place after it: nothing that it wants is missing up to there.
    """

    def __init__(self, payload: bytes, *, seq: int) -> None:
        self.payload = payload
        self.seq = seq

    @cached_property
    def wire(self) -> bytes:
        """The whole frame of RFC 6455 §5.2; a server does not mask, so it is the same for all."""
        size = len(self.payload)
        if size < 126:
            return struct.pack("!BB", 0x81, size) + self.payload
        if size < 65_536:
            return struct.pack("!BBH", 0x81, 126, size) + self.payload
        return struct.pack("!BBQ", 0x81, 127, size) + self.payload

    @cached_property
    def text(self) -> str:
        """The message as a string."""
        return self.payload.decode()


def events_json(events: Sequence[SealedEvent], seq: int) -> bytes:
    """The events and the place after them, as the polling twin answers."""
    return b'{"events":[%b],"seq":%d}' % (b",".join(event.json for event in events), seq)


def event_frames(events: Sequence[SealedEvent], seq: int) -> Iterator[Frame]:
    """The events in frames of bounded size; the last one ends at `seq`."""
    start = size = 0
    for index, event in enumerate(events):
        if index > start and size + len(event.json) > FRAME_BYTES_MAX:
            yield _events(events[start:index], events[index - 1].seq)
            start, size = index, 0
        size += len(event.json)
    if events:
        yield _events(events[start:], seq)


def _events(events: Sequence[SealedEvent], seq: int) -> Frame:
    return Frame(b'{"type":"events",' + events_json(events, seq)[1:], seq=seq)


def message(
    type_: Literal["ready", "live", "behind", "heartbeat"], seq: int, **more: Json
) -> Frame:
    """A message about the socket itself."""
    return Frame(orjson.dumps({"type": type_, "seq": seq, **more}), seq=seq)


def error_frame(error: QuarterdeckError) -> Frame:
    """The error in the words of its problem document."""
    fields = {
        "type": "error",
        "code": error.code,
        "detail": error.message,
        "where": error.where,
        "hint": error.hint,
    }
    present = {name: value for name, value in fields.items() if value is not None}
    return Frame(orjson.dumps(present), seq=0)


def close_code(error: QuarterdeckError) -> int:
    """The close code that tells a client why: 4000 + HTTP status, or a registered one.

    1009 (message too big) and 1013 (try again later) are RFC 6455 §7.4 and its registry.
    """
    if isinstance(error, TooLarge):
        return 1009
    if isinstance(error, Unavailable):
        return 1013
    return 4000 + error.status


def close_reason(text: str) -> str:
    """As much of the text as fits into a close frame."""
    return text.encode()[:REASON_BYTES_MAX].decode(errors="ignore")


class Bucket:
    """Tokens that come back at `per_s`; `take` is False when there is none."""

    def __init__(self, *, per_s: float, burst: int, now_s: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one, if there is one at `now_s`."""
        gained = (now_s - self._at_s) * self._per_s
        self._left = min(self._burst, self._left + gained)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
