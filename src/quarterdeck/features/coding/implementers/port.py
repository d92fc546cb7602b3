"""The implementer port: a task in, events out; what was changed is read from the files alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from quarterdeck.core.events import Json
from quarterdeck.features.coding.commands import Commands


@dataclass(frozen=True, slots=True)
class Task:
    """What an implementer is asked to do.

    `path` is the sandbox's tree, the only place where it may write; `work_dir` is private scratch
    space outside of it. `insights` is the mentors' consensus, `plan` the plan document, `failing`
    the ids of the tests that are red now, `feedback` the last failing proof and the debugging
    mentors' advice. `budget_s` bounds the whole run in seconds.
    """

    mission_id: str
    brief: str
    path: Path
    work_dir: Path
    commands: Commands
    constraints: Mapping[str, Json] = field(default_factory=dict)
    insights: Mapping[str, Json] = field(default_factory=dict)
    plan: Mapping[str, Json] = field(default_factory=dict)
    failing: tuple[str, ...] = ()
    feedback: Mapping[str, Json] | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    budget_s: float = 60.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Progressed:
    """Something happened; `fraction` (0..1) only when it is really known."""

    message: str
    fraction: float | None = None
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Used:
    """A model call made on the task's behalf; None where the provider did not say."""

    model: str
    input_tokens: int | None
    output_tokens: int | None
    duration_s: float


class Status(StrEnum):
    """How an implementer's attempt ended; only the proof decides whether it is any good."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of every run.

    `evidence` is what the implementer knows about its change (class, rivals, question);
    `handover` is what helps the next implementer or the person when it did not succeed
    (suspects, tracebacks, best partial edits).
    """

    status: Status
    summary: str
    evidence: Mapping[str, Json] = field(default_factory=dict)
    handover: Mapping[str, Json] = field(default_factory=dict)


ImplementerEvent = Progressed | Used | Finished


class Implementer(Protocol):
    """Writes a change into a sandbox."""

    @property
    def name(self) -> str: ...

    def run(self, task: Task) -> AsyncIterator[ImplementerEvent]:
        """Work on the task; the last event is `Finished`.

        Closing the iterator stops the work and ends every process it started.
        """
        ...
