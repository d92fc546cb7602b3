"""Run: the state of a mission as the fold of its events, and what may happen next.

State changes only by `apply`; everything else here reads it. The engine holds one `Run` per active
mission and forgets it when nothing moves: the log is enough to make it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from quarterdeck.core.errors import Conflict
from quarterdeck.core.events import Event, EventType, Json
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Patch, Plan, StepSpec, ancestors, patched
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


ENDED = frozenset({Status.DONE, Status.FAILED, Status.SKIPPED, Status.CANCELLED})
SATISFIED = frozenset({Status.DONE, Status.SKIPPED})
OPEN = (Status.QUEUED, Status.RUNNING, Status.WAITING, Status.BLOCKED)


@dataclass(slots=True)
class StepState:
    """Where one step stands.

    `failures` counts failed attempts, `interruptions` crashes in the middle; `round` counts
    rewinds. `question` is what a waiting step asks (the JSON of a `Wait`).
    """

    status: Status = Status.QUEUED
    failures: int = 0
    interruptions: int = 0
    round: int = 1
    outputs: Mapping[str, Json] = field(default_factory=dict)
    question: Mapping[str, Json] | None = None
    answers: tuple[Answer, ...] = ()
    reason: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    wake_at: str | None = None


@dataclass(slots=True)
class Run:
    """One mission's execution, folded from its events."""

    mission: Mission
    recipe_plan: Plan
    plan: Plan
    steps: dict[str, StepState]
    status: Status = Status.QUEUED
    outcome: str | None = None
    error: str | None = None
    cancelling: bool = False
    phases_completed: tuple[str, ...] = ()
    updated_at: str = ""
    specs_by_id: dict[str, StepSpec] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def spec(self, step_id: str) -> StepSpec:
        """The step as the plan has it."""
        if step_id not in self.specs_by_id:
            self.specs_by_id = {spec.id: spec for spec in self.plan.steps}
        return self.specs_by_id[step_id]

    def outputs(self) -> dict[str, Mapping[str, Json]]:
        """The outputs of every finished step, by step id."""
        return {i: s.outputs for i, s in self.steps.items() if s.status is Status.DONE}

    def in_status(self, *wanted: Status) -> list[str]:
        """The ids of the steps in one of these states, in plan order."""
        return [spec.id for spec in self.plan.steps if self.steps[spec.id].status in wanted]


def fold(events: Iterable[Event]) -> Run:
    """The run that a mission's events, in order, amount to."""
    run: Run | None = None
    for event in events:
        if event.type is EventType.MISSION_SUBMITTED:
            run = started(event)
        elif run is not None:
            apply(run, event)
    assert run is not None, "a mission's first event is mission.submitted"
    return run


def started(event: Event) -> Run:
    """The run of a mission that was just submitted."""
    mission = Mission.model_validate(event.data["mission"])
    plan = Plan.model_validate(event.data["plan"])
    steps = {spec.id: StepState() for spec in plan.steps}
    return Run(mission, plan, plan, steps, updated_at=event.at)


def apply(run: Run, event: Event) -> None:
    """Change the run by one event; events that only tell something change nothing."""
    run.updated_at = event.at
    if event.step is not None and event.type in _STEP_STATUS:
        _apply_step(run, event, run.steps[event.step])
    else:
        _apply_mission(run, event)


_STEP_STATUS: Mapping[EventType, Status | None] = {
    EventType.STEP_STARTED: Status.RUNNING,
    EventType.STEP_WAITING: Status.WAITING,
    EventType.STEP_ANSWERED: Status.QUEUED,
    EventType.STEP_WOKEN: Status.QUEUED,
    EventType.STEP_UNBLOCKED: Status.QUEUED,
    EventType.STEP_FINISHED: Status.DONE,
    EventType.STEP_FAILED: None,
    EventType.STEP_INTERRUPTED: Status.QUEUED,
    EventType.STEP_SKIPPED: Status.SKIPPED,
    EventType.STEP_CANCELLED: Status.CANCELLED,
    EventType.STEP_BLOCKED: Status.BLOCKED,
}


def _apply_step(run: Run, event: Event, step: StepState) -> None:
    data = event.data
    step.status = _STEP_STATUS[event.type] or (
        Status.QUEUED if data.get("retry_at") else Status.FAILED
    )
    if step.status in ENDED:
        step.ended_at = event.at
    match event.type:
        case EventType.STEP_STARTED:
            step.started_at = step.started_at or event.at
            step.wake_at = None
            run.status = Status.RUNNING
        case EventType.STEP_WAITING:
            step.question = data["question"]
            step.wake_at = data.get("wake_at")
        case EventType.STEP_ANSWERED:
            step.question = None
            step.wake_at = None
            step.answers += (Answer(**data["answer"]),)
        case EventType.STEP_WOKEN:
            step.wake_at = None
        case EventType.STEP_FINISHED:
            step.outputs = data["outputs"]
            if data.get("patch"):
                _extend(run, Patch.model_validate(data["patch"]))
        case EventType.STEP_FAILED:
            step.failures += 1
            step.reason = data["error"]
            step.wake_at = data.get("retry_at")
        case EventType.STEP_INTERRUPTED:
            step.interruptions += 1
        case _:
            step.reason = data.get("reason")


def _extend(run: Run, patch: Patch) -> None:
    run.plan = patched(run.plan, patch, untouched=run.in_status(Status.QUEUED))
    run.specs_by_id.clear()
    run.weights.clear()
    run.steps.update({spec.id: StepState() for spec in patch.steps})


def _apply_mission(run: Run, event: Event) -> None:
    data = event.data
    match event.type:
        case EventType.MISSION_CHANGED:
            run.mission = run.mission.model_copy(update=dict(data["changes"]))
        case EventType.MISSION_REWOUND:
            _rewind(run, str(data["to"]))
        case EventType.MISSION_CANCEL_REQUESTED:
            run.cancelling = True
        case EventType.MISSION_PHASE_COMPLETED:
            run.phases_completed += (str(data["phase"]),)
        case EventType.MISSION_FINISHED:
            run.status = Status(data["status"])
            run.outcome = data.get("outcome")
            run.error = data.get("error")
        case _:
            pass


def _rewind(run: Run, to: str) -> None:
    """Back to the recipe's own plan, with `to` and all that follows it to be done again."""
    needs = {spec.id: spec.needs for spec in run.recipe_plan.steps}
    again = {i for i in needs if i == to or to in ancestors(i, needs)}
    run.plan = run.recipe_plan
    run.specs_by_id.clear()
    run.weights.clear()
    run.steps = {
        i: StepState(round=run.steps[i].round + 1) if i in again else run.steps[i] for i in needs
    }
    redone = {spec.phase for spec in run.plan.steps if spec.id in again}
    run.phases_completed = tuple(p for p in run.phases_completed if p not in redone)
    run.status, run.outcome, run.error = Status.RUNNING, None, None


def ready(run: Run) -> list[StepSpec]:
    """The steps whose own needs are met and which have not started, in plan order (DAG-3).

    Computed, never stored: there is no barrier between levels of the graph.
    """
    if run.cancelling:
        return []
    steps = run.steps
    return [
        spec
        for spec in run.plan.steps
        if steps[spec.id].status is Status.QUEUED
        and all(steps[need].status in SATISFIED for need in spec.needs)
    ]


def unreachable(run: Run) -> dict[str, str]:
    """Queued steps that can never start, with the failed or cancelled step that is to blame."""
    blame: dict[str, str] = {}
    dead = {i: i for i in run.in_status(Status.FAILED, Status.CANCELLED)}
    changed = bool(dead)
    while changed:
        changed = False
        for spec in run.plan.steps:
            if run.steps[spec.id].status is not Status.QUEUED or spec.id in blame:
                continue
            cause = next(
                (dead.get(n) or blame.get(n) for n in spec.needs if n in dead or n in blame), None
            )
            if cause is not None:
                blame[spec.id] = cause
                changed = True
    return blame


def completed_phases(run: Run) -> list[str]:
    """Phases with a step that is done and none that is not over well, not yet recorded, in order."""
    states: dict[str, set[Status]] = {}
    for spec in run.plan.steps:
        if spec.phase:
            states.setdefault(spec.phase, set()).add(run.steps[spec.id].status)
    return [
        phase
        for phase, found in states.items()
        if Status.DONE in found and found <= SATISFIED and phase not in run.phases_completed
    ]


def percent(run: Run, weights: Mapping[str, float]) -> float:
    """How far the run is, 0..100, by the expected durations `weights` (step id → seconds).

    What was left out because of a failure does not count as done.
    """
    total = sum(weights[spec.id] for spec in run.plan.steps)
    failed = run.in_status(Status.FAILED, Status.CANCELLED)
    past = sum(weights[i] for i in run.in_status(Status.DONE, *(() if failed else SATISFIED)))
    return round(100.0 * past / total, 1) if total else 0.0


def ending(run: Run) -> tuple[Status, str | None] | None:
    """How the run ended, with the first failure's reason; None while it can still move."""
    if any(step.status not in ENDED for step in run.steps.values()):
        return None
    if run.cancelling:
        return Status.CANCELLED, None
    failed = run.in_status(Status.FAILED)
    if failed:
        return Status.FAILED, f"{failed[0]}: {run.steps[failed[0]].reason}"
    return Status.DONE, None


def standing(run: Run) -> Status:
    """The mission's status: running while anything can move by itself, else what it waits for."""
    if run.status in ENDED:
        return run.status
    if all(step.status is Status.QUEUED and not step.failures for step in run.steps.values()):
        return Status.QUEUED
    if run.in_status(Status.RUNNING) or ready(run):
        return Status.RUNNING
    if run.in_status(Status.WAITING):
        return Status.WAITING
    if run.in_status(Status.BLOCKED):
        return Status.BLOCKED
    return Status.RUNNING


def next_wake(run: Run) -> str | None:
    """The earliest moment (RFC 3339) at which a waiting or backing-off step wants to move."""
    moments = [s.wake_at for s in run.steps.values() if s.wake_at and s.status not in ENDED]
    return min(moments, default=None)


def check_answer(run: Run, step_id: str, choice: str, digest: str | None) -> None:
    """Raise `Conflict` unless this answer fits what the step asks right now."""
    step = run.steps.get(step_id)
    if step is None or step.status is not Status.WAITING or step.question is None:
        waiting = ", ".join(run.in_status(Status.WAITING)) or "nothing"
        raise Conflict(
            f"Step {step_id!r} is not waiting for an answer; waiting: {waiting}.", where="step"
        )
    choices = [str(c["id"]) for c in step.question["choices"]]
    if choice not in choices:
        raise Conflict(
            f"{choice!r} is not among the choices.",
            where="choice",
            hint=f"One of: {', '.join(choices)}.",
        )
    wanted = step.question.get("digest")
    if wanted and choice == choices[0] and digest is not None and digest != wanted:
        raise Conflict(
            "What you looked at has changed since.",
            where="digest",
            hint=f"Look again; it is {wanted} now.",
        )
