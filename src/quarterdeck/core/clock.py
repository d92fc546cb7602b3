"""Time as a value that is passed in, so that tests can own it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time: `now` for people and records, `monotonic_s` for durations."""

    def now(self) -> datetime: ...

    def monotonic_s(self) -> float: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - the one place that asks the machine

    def monotonic_s(self) -> float:
        return time.monotonic()


class SimClock:
    """A clock for simulations: it shows `start` plus whatever `elapsed_s` says has passed."""

    def __init__(
        self,
        elapsed_s: Callable[[], float],
        *,
        start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    ) -> None:
        self._elapsed_s = elapsed_s
        self._start = start

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s())

    def monotonic_s(self) -> float:
        return self._elapsed_s()


def iso(moment: datetime) -> str:
    """The moment in RFC 3339, UTC, milliseconds, as every record carries it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
