"""Bounded progress: a flood of output becomes a readable trickle, and what was left out is counted."""

from __future__ import annotations

import codecs
import re
from collections import deque
from typing import Any

from quarterdeck.core.clock import Clock
from quarterdeck.features.coding.implementers.play import Emit
from quarterdeck.features.coding.implementers.port import Progressed

MESSAGE_MAX = 500
MESSAGES_MAX = 1_000
BURST = 40
PER_S = 10.0
TAIL_BYTES = 8_192

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str, *, limit: int = MESSAGE_MAX) -> str:
    """`text` without control characters and terminal codes, at most `limit` characters."""
    # Cut first: what comes from outside may be megabytes long.
    shown = _CONTROL.sub("", text[: 8 * limit]).strip()
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


class Progress:
    """Emits at most `BURST` messages at once, `PER_S` a second and `MESSAGES_MAX` in all.

    Messages over that are dropped but the last, which comes out with `flush`; the next one emitted
    says in `data["left_out"]` how many were dropped before it.
    """

    def __init__(self, emit: Emit, clock: Clock) -> None:
        self._emit = emit
        self._clock = clock
        self._tokens = float(BURST)
        self._refilled_s = clock.monotonic_s()
        self._emitted = 0
        self._left_out = 0
        self._last: Progressed | None = None

    def say(self, message: str, *, fraction: float | None = None, **data: Any) -> None:
        """Emit one message, or keep it as the last one when there were too many."""
        shown = plain(message)
        if not shown:
            return
        event = Progressed(shown, fraction, data)
        if self._may_emit():
            self._out(event)
        else:
            self._left_out += self._last is not None
            self._last = event

    def flush(self) -> None:
        """Emit the last message that was held back, if any."""
        if self._last is not None:
            last, self._last = self._last, None
            self._out(last)

    def _out(self, event: Progressed) -> None:
        left_out = self._left_out + (self._last is not None)
        if left_out:
            event = Progressed(event.message, event.fraction, {**event.data, "left_out": left_out})
        self._left_out, self._last = 0, None
        self._emitted += 1
        self._emit(event)

    def _may_emit(self) -> bool:
        now = self._clock.monotonic_s()
        self._tokens = min(float(BURST), self._tokens + (now - self._refilled_s) * PER_S)
        self._refilled_s = now
        if self._tokens < 1.0 or self._emitted >= MESSAGES_MAX:
            return False
        self._tokens -= 1.0
        return True


class OutputLines:
    """Turns chunks of a command's output into progress, line by line, and keeps its tail."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line = ""
        self._tail: deque[str] = deque(maxlen=200)

    def feed(self, chunk: bytes) -> None:
        """Take output as it comes; a line without end is cut at `MESSAGE_MAX` characters."""
        *lines, rest = (self._line + self._decoder.decode(chunk)).split("\n")
        for line in lines:
            self._take(line)
        self._line = rest[: 2 * MESSAGE_MAX]

    def end(self) -> None:
        """Take the last, unended line and let out what was held back."""
        self._take(self._line)
        self._line = ""
        self._progress.flush()

    @property
    def tail(self) -> str:
        """The last lines, at most `TAIL_BYTES` characters."""
        return "\n".join(self._tail)[-TAIL_BYTES:]

    def _take(self, line: str) -> None:
        if shown := plain(line):
            self._tail.append(shown)
            self._progress.say(shown)
