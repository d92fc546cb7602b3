"""Status: the one set of states of missions, runs and steps, and where one step stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from quarterdeck.core.events import Json
from quarterdeck.core.step import Answer


class Status(StrEnum):
    """The one set of states of missions, runs and steps."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"

    __hash__ = str.__hash__  # Enum's own is Python code, and tallies are looked up at each event


ENDED = frozenset({Status.DONE, Status.FAILED, Status.SKIPPED, Status.CANCELLED})
SATISFIED = frozenset({Status.DONE, Status.SKIPPED})
OPEN = (Status.QUEUED, Status.RUNNING, Status.WAITING, Status.BLOCKED)


@dataclass(slots=True)
class StepState:
    """Where one step stands.

    `failures` counts failed attempts, `interruptions` crashes in the middle; `round` counts
    rewinds. `question` is what a waiting step asks (the JSON of a `Wait`). `review` is what a
    person decided about an interrupted external step.
    """

    status: Status = Status.QUEUED
    failures: int = 0
    interruptions: int = 0
    round: int = 1
    outputs: Mapping[str, Json] = field(default_factory=dict)
    question: Mapping[str, Json] | None = None
    answers: tuple[Answer, ...] = ()
    review: str | None = None
    reason: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    wake_at: str | None = None
