"""A mission as it is shown: one JSON shape for the API, the command line and the page."""

from __future__ import annotations

from collections.abc import Mapping

from quarterdeck.core.events import Json
from quarterdeck.core.run import ENDED, SATISFIED, Run, Status, StepState, percent, standing
from quarterdeck.engine.answers import awaited


def view(run: Run, weights: Mapping[str, float]) -> dict[str, Json]:
    """Everything about a mission but its artifacts and events."""
    mission = run.mission
    return {
        **mission.model_dump(mode="json"),
        "status": standing(run).value,
        "outcome": run.outcome,
        "error": run.error,
        "percent": percent(run, weights),
        "updated_at": run.updated_at,
        "phases": phases(run),
        "steps": [step_view(run, spec.id) for spec in run.plan.steps],
        "awaiting": awaited(run),
        "outputs": {step_id: dict(outputs) for step_id, outputs in run.outputs().items()},
    }


def step_view(run: Run, step_id: str) -> dict[str, Json]:
    """One step as it stands."""
    spec, state = run.spec(step_id), run.steps[step_id]
    return {
        "id": step_id,
        "kind": spec.kind,
        "phase": spec.phase,
        "needs": list(spec.needs),
        "when": spec.when,
        "status": state.status.value,
        "attempt": state.failures + 1,
        "interruptions": state.interruptions,
        "round": state.round,
        "reason": state.reason,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
        "wake_at": state.wake_at,
    }


def phases(run: Run) -> list[dict[str, Json]]:
    """The plan's phases in order, each with the status of its steps taken together."""
    order = list(dict.fromkeys(spec.phase for spec in run.plan.steps if spec.phase))
    return [{"phase": phase, "status": phase_status(run, phase).value} for phase in order]


def phase_status(run: Run, phase: str) -> Status:
    """Done when all its steps are over and well; else the most telling of their states."""
    states: list[StepState] = [run.steps[spec.id] for spec in run.plan.steps if spec.phase == phase]
    present = {state.status for state in states}
    if present <= SATISFIED:
        return Status.DONE if Status.DONE in present else Status.SKIPPED
    for telling in (Status.FAILED, Status.CANCELLED, Status.WAITING, Status.BLOCKED):
        if telling in present:
            return telling
    return Status.RUNNING if present & {Status.RUNNING, *ENDED} else Status.QUEUED
