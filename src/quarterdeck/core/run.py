"""Run: the state of a mission as the fold of its events, and what may happen next.

State changes only by `apply`; everything else here reads it. The engine holds one `Run` per active
mission and forgets it when nothing moves: the log is enough to make it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from quarterdeck.core.errors import Conflict, InvalidPlan
from quarterdeck.core.events import Event, EventType, Json
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Patch, Plan, StepSpec, ancestors, patched
from quarterdeck.core.status import ENDED, SATISFIED, Status, StepState
from quarterdeck.core.step import Answer
from quarterdeck.core.tally import Tally


@dataclass(frozen=True, slots=True)
class Extension:
    """What a planner step has added, and which steps had not started then."""

    planner: str
    patch: Patch
    untouched: frozenset[str]


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
    extensions: tuple[Extension, ...] = ()
    weights: dict[str, float] = field(default_factory=dict, compare=False)
    tally: Tally = field(init=False, compare=False, repr=False)
    """What follows from the states of the steps; `apply` keeps it up to date."""

    def __post_init__(self) -> None:
        self.tally = Tally(self.plan, self.steps)

    def spec(self, step_id: str) -> StepSpec:
        """The step as the plan has it."""
        return self.tally.specs[step_id]

    def outputs(self) -> dict[str, Mapping[str, Json]]:
        """The outputs of every finished step, by step id."""
        return dict(self.tally.outputs)

    def in_status(self, *wanted: Status) -> list[str]:
        """The ids of the steps in one of these states, in plan order."""
        if not any(self.tally.counts[status] for status in wanted):
            return []
        return [spec.id for spec in self.plan.steps if self.steps[spec.id].status in wanted]

    def reshaped(self) -> None:
        """Derive anew what hangs on the plan; it is another one now."""
        self.tally = Tally(self.plan, self.steps)
        self.weights.clear()


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
    return fresh(mission, plan, at=event.at)


def fresh(mission: Mission, plan: Plan, *, at: str) -> Run:
    """The run of a mission of which nothing has started."""
    steps = {spec.id: StepState() for spec in plan.steps}
    return Run(mission, plan, plan, steps, updated_at=at)


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
    data, before = event.data, step.status
    step.status = _STEP_STATUS[event.type] or _after_failure(data)
    if step.status in ENDED:
        step.ended_at = event.at
    _note_step(step, event)
    if before in ENDED:
        run.reshaped()
    else:
        run.tally.moved(str(event.step), before)
    if run.status is Status.BLOCKED:
        run.error = None
    if run.status is Status.BLOCKED or event.type is EventType.STEP_STARTED:
        run.status = Status.RUNNING
    if data.get("patch"):
        _extend(run, str(event.step), Patch.model_validate(data["patch"]))


def _note_step(step: StepState, event: Event) -> None:
    """What an event says about a step besides its status."""
    data = event.data
    match event.type:
        case EventType.STEP_STARTED:
            step.started_at = step.started_at or event.at
            step.wake_at = None
            step.review = None
        case EventType.STEP_FINISHED:
            step.outputs = data["outputs"]
        case EventType.STEP_WAITING:
            step.question = data["question"]
            step.wake_at = data.get("wake_at")
        case EventType.STEP_ANSWERED:
            _answered(step, Answer(**data["answer"]))
        case EventType.STEP_WOKEN:
            step.wake_at = None
        case EventType.STEP_FAILED:
            step.failures += 1
            step.reason = data["error"]
            step.wake_at = data.get("retry_at")
        case EventType.STEP_INTERRUPTED:
            step.interruptions += 1
        case _:
            step.reason = data.get("reason")


def _after_failure(data: Mapping[str, Json]) -> Status:
    return Status.QUEUED if data.get("retry_at") else Status.FAILED


def _answered(step: StepState, answer: Answer) -> None:
    """An answer to the step's own question is for its handler, one to a review for the engine."""
    asked = step.question or {}
    step.question = None
    step.wake_at = None
    if asked.get("review"):
        step.review = answer.choice
    else:
        step.answers += (answer,)


def _extend(run: Run, planner: str, patch: Patch) -> None:
    extension = Extension(planner, patch, frozenset(run.in_status(Status.QUEUED)))
    run.plan = patched(run.plan, patch, untouched=extension.untouched)
    run.extensions += (extension,)
    run.steps.update({spec.id: StepState() for spec in patch.steps})
    run.reshaped()


def _apply_mission(run: Run, event: Event) -> None:
    data = event.data
    match event.type:
        case EventType.MISSION_CHANGED:
            run.mission = changed(run.mission, data["changes"])
        case EventType.MISSION_REWOUND:
            _rewind(run, str(data["to"]))
        case EventType.MISSION_CANCEL_REQUESTED:
            run.cancelling = True
        case EventType.MISSION_PHASE_COMPLETED:
            run.phases_completed += (str(data["phase"]),)
        case EventType.MISSION_BLOCKED:
            run.status, run.error = Status.BLOCKED, str(data["reason"])
        case EventType.MISSION_FINISHED:
            run.status = Status(data["status"])
            run.outcome = data.get("outcome")
            run.error = data.get("error")
        case _:
            pass


def changed(mission: Mission, changes: Mapping[str, Json]) -> Mission:
    """The mission with some fields changed; raises pydantic's ValidationError as `Mission` does."""
    return Mission.model_validate({**mission.model_dump(mode="json"), **changes})


def _rewind(run: Run, to: str) -> None:
    """`to` and all that follows it is to be done again, as the recipe has it.

    Steps that were added stay as long as the planner that added them is not done again.
    """
    again = {to}
    while True:
        kept = tuple(e for e in run.extensions if e.planner not in again)
        plan = _extended(run.recipe_plan, kept)
        if plan is None:
            kept, plan = (), run.recipe_plan
        needs = {spec.id: spec.needs for spec in plan.steps}
        more = {i for i in needs if again & {i, *ancestors(i, needs)}}
        if more <= again:
            break
        again |= more
    run.extensions, run.plan = kept, plan
    run.steps = {
        i: StepState(round=run.steps[i].round + 1) if i in again else run.steps[i] for i in needs
    }
    run.reshaped()
    redone = {spec.phase for spec in run.plan.steps if spec.id in again}
    run.phases_completed = tuple(p for p in run.phases_completed if p not in redone)
    run.status, run.outcome, run.error = Status.RUNNING, None, None


def _extended(plan: Plan, extensions: Iterable[Extension]) -> Plan | None:
    """The plan with these extensions; None when one of them needs what another had added."""
    try:
        for extension in extensions:
            plan = patched(plan, extension.patch, untouched=extension.untouched)
    except InvalidPlan:
        return None
    return plan


def ready(run: Run) -> list[StepSpec]:
    """The steps whose own needs are met and which have not started, in plan order (DAG-3).

    There is no barrier between levels of the graph.
    """
    if run.cancelling:
        return []
    tally = run.tally
    return [tally.specs[step_id] for step_id in tally.ordered(tally.free)] if tally.free else []


def unreachable(run: Run) -> dict[str, str]:
    """Queued steps that can never start, with the failed or cancelled step that is to blame."""
    counts = run.tally.counts
    if not counts[Status.FAILED] and not counts[Status.CANCELLED]:
        return {}
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
    steps = run.steps
    return [
        phase
        for phase, members in run.tally.phases.items()
        if phase not in run.phases_completed
        and all(steps[i].status in SATISFIED for i in members)
        and any(steps[i].status is Status.DONE for i in members)
    ]


def percent(run: Run, weights: Mapping[str, float]) -> float:
    """How far the run is, 0..100, by the expected durations `weights` (step id → seconds).

    What was left out because of a failure does not count as done.
    """
    tally = run.tally
    over = sum(map(weights.__getitem__, tally.outputs))
    counts = tally.counts
    if counts[Status.SKIPPED] and not counts[Status.FAILED] and not counts[Status.CANCELLED]:
        over += sum(weights[i] for i in run.in_status(Status.SKIPPED))
    total = sum(map(weights.__getitem__, run.steps))
    return round(100.0 * over / total, 1) if total else 0.0


def ending(run: Run) -> tuple[Status, str | None] | None:
    """How the run ended, with the first failure's reason; None while it can still move."""
    if run.tally.left:
        return None
    if run.cancelling:
        return Status.CANCELLED, None
    failed = run.in_status(Status.FAILED)
    if failed:
        return Status.FAILED, f"{failed[0]}: {run.steps[failed[0]].reason}"
    return Status.DONE, None


def standing(run: Run) -> Status:
    """The mission's status: running while anything can move by itself, else what it waits for."""
    if run.status in ENDED or run.status is Status.BLOCKED:
        return run.status
    if run.cancelling:
        return Status.RUNNING
    counts = run.tally.counts
    if counts[Status.QUEUED] == len(run.steps) and not any(s.failures for s in run.steps.values()):
        return Status.QUEUED
    if counts[Status.RUNNING] or run.tally.free:
        return Status.RUNNING
    if counts[Status.WAITING]:
        return Status.WAITING
    return Status.BLOCKED if counts[Status.BLOCKED] else Status.RUNNING


def current_step(run: Run) -> str | None:
    """The first step, in plan order, that is running, waiting or blocked."""
    active = run.tally.active
    return run.tally.ordered(active)[0] if active else None


def steps_over(run: Run) -> int:
    """How many steps are over, one way or another."""
    return len(run.steps) - run.tally.left


def next_wake(run: Run) -> str | None:
    """The earliest moment (RFC 3339) at which a waiting or backing-off step wants to move."""
    if not run.tally.waking:
        return None
    moments = (run.steps[i].wake_at for i in run.tally.waking)
    return min((moment for moment in moments if moment), default=None)


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
