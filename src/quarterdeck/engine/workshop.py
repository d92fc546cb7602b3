"""What every driver works with: the log, the clock, the step kinds, and places to run them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from quarterdeck.core.artifact import Artifact
from quarterdeck.core.clock import Clock, iso
from quarterdeck.core.events import Event, EventType, Json
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import StepSpec
from quarterdeck.core.run import Run
from quarterdeck.core.step import StepKind
from quarterdeck.engine.context import Resources, StepContext
from quarterdeck.engine.slots import Slots
from quarterdeck.storage.artifacts import Artifacts
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Commit, Log
from quarterdeck.storage.missions import artifact_row

INLINE_BYTES_MAX = 64 * 1024
"""Outputs above this are kept as an artifact; the event holds its hash (ARCHITECTURE §3)."""

SLEEP_S_MAX = 900.0


class Workshop:
    """Shared by all missions of one engine."""

    def __init__(
        self,
        log: Log,
        directory: DataDirectory,
        kinds: Iterable[StepKind[StepContext]],
        *,
        resources: Resources,
        clock: Clock,
        report: Callable[[str], None],
    ) -> None:
        self.log = log
        self.clock = clock
        self.report = report
        self.artifacts = Artifacts(directory)
        self._directory = directory
        self._resources = resources
        self._kinds = {(kind.name, kind.version): kind for kind in kinds}
        self.slots = Slots(self._kinds.values())
        self.tasks: set[asyncio.Task[None]] = set()

    def kind_of(self, spec: StepSpec) -> StepKind[StepContext] | None:
        """The handler of a step, or None when this build does not know it."""
        return self._kinds.get((spec.kind, spec.version))

    def weights(self, run: Run) -> Mapping[str, float]:
        """The expected duration of each step, in seconds."""
        if len(run.weights) != len(run.plan.steps):
            run.weights.update({spec.id: self._weight_s(spec) for spec in run.plan.steps})
        return run.weights

    def _weight_s(self, spec: StepSpec) -> float:
        kind = self.kind_of(spec)
        return spec.weight_s or (kind.weight_s if kind else 1.0)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """A task that ends, at the latest, with the engine."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def durable(self, told: asyncio.Future[int]) -> None:
        """Wait until a kept commit is durable, without being able to cancel that for others.

        Raises:
            QuarterdeckError: when the database refused what it says.
        """
        await asyncio.wait((told,))
        if told.cancelled():  # by another who waited; what comes after it is durable after it
            await self.durable(self.log.keep(Commit()))
        else:
            told.result()

    def seconds_until(self, moment: str) -> float:
        """How long to sleep towards a moment (RFC 3339), at most `SLEEP_S_MAX`.

        A machine that slept, or a clock that was set, is noticed by then.
        """
        left_s = (datetime.fromisoformat(moment) - self.clock.now()).total_seconds()
        return min(max(0.0, left_s), SLEEP_S_MAX)

    def event(
        self,
        run: Run,
        type: EventType,
        actor: str,
        data: Mapping[str, Json],
        *,
        step: str | None = None,
    ) -> Event:
        """A fact about this mission, now."""
        mission = run.mission
        at = iso(self.clock.now())
        return Event(type, at, mission.workspace, actor, mission.id, step, data)

    def work_dir(self, mission: Mission) -> Path:
        """The mission's private directory."""
        return self._directory.work / f"{mission.workspace}/{mission.id}"

    def context(self, run: Run, spec: StepSpec, work_dir: Path) -> StepContext:
        """What the handler of this step is given now."""
        state, mission = run.steps[spec.id], run.mission

        def emit(type: EventType, data: Mapping[str, Json]) -> None:
            self.log.append(Commit([self.event(run, type, f"agent:{spec.id}", data, step=spec.id)]))

        async def store(name: str, content: bytes, media_type: str, path: str | None) -> Artifact:
            artifact = await self.artifacts.put(name, content, media_type=media_type, path=path)
            row = artifact_row(mission, spec.id, artifact, iso(self.clock.now()))
            self.log.append(Commit(rows=[row]))
            if path is not None:
                emit(EventType.LEARNING_ARTIFACT_STORED, artifact.as_json())
            return artifact

        return StepContext(
            mission=mission,
            step=spec,
            attempt=state.failures + 1,
            interruptions=state.interruptions,
            round=state.round,
            key=f"{mission.id}:{spec.id}:{state.round}",
            outputs=run.outputs(),
            answers=state.answers,
            work_dir=work_dir,
            clock=self.clock,
            resources=self._resources,
            _emit=emit,
            _store=store,
            _load=self.artifacts.get,
        )

    def large(self, outputs: Mapping[str, Json]) -> bytes | None:
        """The outputs as JSON when they are too large for the log, else None."""
        encoded = orjson.dumps(outputs)
        return encoded if len(encoded) > INLINE_BYTES_MAX else None

    async def keep_apart(self, outputs: bytes) -> str:
        """Keep large outputs as an artifact; returns its hash."""
        kept = await self.artifacts.put("outputs.json", outputs, media_type="application/json")
        return kept.sha256

    async def whole(self, event: Event) -> Event:
        """The event with outputs that were too large for the log put back into it."""
        sha256 = event.data.get("outputs_sha256")
        if sha256 is None:
            return event
        outputs = orjson.loads(await self.artifacts.get(str(sha256)))
        return replace(event, data={**event.data, "outputs": outputs})
