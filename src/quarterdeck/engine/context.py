"""What a step handler is given: its mission, earlier outputs, and ways to report and store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from quarterdeck.core.artifact import Artifact
from quarterdeck.core.clock import Clock
from quarterdeck.core.events import EventType, Json
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import StepSpec
from quarterdeck.core.step import Answer

Resource = TypeVar("Resource")


class Resources:
    """What the application has wired for the steps, looked up by type."""

    def __init__(self, *values: object) -> None:
        self._by_type: dict[type[Any], object] = {type(value): value for value in values}
        self.on_stream: Callable[[str, str, str, Mapping[str, Json]], None] | None = None
        """Where a step's stream goes: workspace, mission, step and chunk; None: nowhere."""

    def add(self, *values: object) -> None:
        """Wire more; a second object of a type takes the place of the first."""
        self._by_type.update({type(value): value for value in values})

    def get(self, kind: type[Resource]) -> Resource:
        """The one object of exactly this type; a missing one is a wiring error."""
        found = self._by_type.get(kind)
        assert isinstance(found, kind), f"{kind.__name__} is not wired"
        return found


@dataclass(slots=True)
class StepContext:
    """Everything a handler may touch.

    `attempt` counts from 1 and only failures raise it; `interruptions` counts crashes and `round`
    how often the mission was taken back to before this step. `key` is
    stable over crashes of the same round: use it wherever an effect must happen once. `outputs`
    maps each finished step to its outputs. `work_dir` is this mission's private directory, kept
    between steps and removed when the mission is archived.
    """

    mission: Mission
    step: StepSpec
    attempt: int
    interruptions: int
    round: int
    key: str
    outputs: Mapping[str, Mapping[str, Json]]
    answers: tuple[Answer, ...]
    work_dir: Path
    clock: Clock
    resources: Resources
    _emit: Callable[[EventType, Mapping[str, Json]], None]
    _store: Callable[[str, bytes, str, str | None], Awaitable[Artifact]]
    _load: Callable[[str], Awaitable[bytes]]
    _progress: dict[str, Json] = field(default_factory=dict)

    def get(self, kind: type[Resource]) -> Resource:
        """What the application wired for this type."""
        return self.resources.get(kind)

    def emit(self, type: EventType, data: Mapping[str, Json]) -> None:
        """Record a fact about this step; durable soon, and before the step is finished."""
        self._emit(type, data)

    def progress(self, message: str, *, fraction: float | None = None, **known: Json) -> None:
        """Say how far the step is; `fraction` in 0..1 only when it is really known."""
        self._emit(EventType.STEP_PROGRESSED, {"message": message, "fraction": fraction, **known})

    def stream(self, chunk: Mapping[str, Json]) -> None:
        """Say a chunk of the UI message stream (`llm/chunks.py`) to those who follow the mission.

        Ids of parts need to be unique within this step alone. It is not a fact: kept with the
        mission's stream, never in the log. Nothing it says can fail the step.
        """
        if self.resources.on_stream is not None:
            self.resources.on_stream(self.mission.workspace, self.mission.id, self.step.id, chunk)

    async def store(
        self,
        name: str,
        content: bytes,
        *,
        media_type: str = "application/json",
        path: str | None = None,
    ) -> Artifact:
        """Keep bytes; with `path` also as a file below `storage/memory/learning/` (DOC-2).

        The bytes are durable when this returns. The artifact's row, and with `path` the event
        `learning.artifact.stored`, are committed no later than the step's own end.
        """
        return await self._store(name, content, media_type, path)

    async def load(self, sha256: str) -> bytes:
        """The bytes of an artifact.

        Raises:
            NotFound: when no such bytes are stored.
        """
        return await self._load(sha256)
