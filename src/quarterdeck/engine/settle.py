"""What becomes true together: facts about one mission, and all that follows from them at once.

A `Draft` applies each event to the run as it is added, so that what follows is read off the run; its
commit carries the events and the rows of the read models as they then stand.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace

from quarterdeck.core.conditions import evaluate
from quarterdeck.core.errors import InvalidCondition
from quarterdeck.core.events import Event, EventType, Json
from quarterdeck.core.ids import SYSTEM
from quarterdeck.core.plan import StepSpec
from quarterdeck.core.run import (
    ENDED,
    SATISFIED,
    Run,
    Status,
    apply,
    completed_phases,
    ending,
    ready,
    unreachable,
)
from quarterdeck.core.step import Choice, Wait
from quarterdeck.engine.attempt import question_of
from quarterdeck.storage.log import Commit
from quarterdeck.storage.missions import mission_row, reset_step_rows, spec_row, step_row

REVIEW = Wait(
    "The process died while this step was changing something outside. What is true now?",
    (
        Choice("again", "It did not happen: run the step again"),
        Choice("fail", "Stop here: mark the step failed"),
    ),
)

Known = Callable[[StepSpec], object | None]
"""Tells whether this build has a handler for a step."""


class Draft:
    """Events of one mission at one moment, already applied to its run."""

    def __init__(self, run: Run, at: str) -> None:
        self.run = run
        self.at = at
        self.events: list[Event] = []
        self._touched: dict[str, None] = {}
        self._reshaped = False

    def add(
        self,
        type: EventType,
        step: str | None = None,
        data: Mapping[str, Json] | None = None,
        *,
        actor: str | None = None,
        stored: Mapping[str, Json] | None = None,
    ) -> None:
        """One more fact; `stored` is what the log is given of `data`, when that is less."""
        mission = self.run.mission
        by = actor or (f"agent:{step}" if step else SYSTEM)
        event = Event(type, self.at, mission.workspace, by, mission.id, step, data or {})
        apply(self.run, event)
        self.events.append(event if stored is None else replace(event, data=stored))
        if step is not None:
            self._touched[step] = None
        elif type is EventType.MISSION_REWOUND:
            self._reshaped = True

    def commit(self, weights: Mapping[str, float]) -> Commit:
        """The events, and the rows of all that they touched."""
        run = self.run
        rows = [mission_row(run, weights)]
        if self._reshaped:
            return Commit(self.events, rows, [spec_row(run.mission), *reset_step_rows(run)])
        rows += [step_row(run, step_id) for step_id in self._touched]
        return Commit(self.events, rows)


def recover(draft: Draft, known: Known, external: Callable[[StepSpec], bool]) -> None:
    """Steps that were running when the process died are interrupted, not failed.

    An external one asks a person, in the same commit: there is no moment at which it could run
    again by itself. Steps that an earlier build did not know are free when this one does.
    """
    run = draft.run
    for step_id in run.in_status(Status.RUNNING):
        draft.add(EventType.STEP_INTERRUPTED, step_id)
        if external(run.spec(step_id)):
            question = {**question_of(REVIEW), "review": True}
            draft.add(EventType.STEP_WAITING, step_id, {"question": question})
    for step_id in run.in_status(Status.BLOCKED):
        if known(run.spec(step_id)) is not None:
            draft.add(EventType.STEP_UNBLOCKED, step_id)


def settle(draft: Draft, known: Known, busy: Container[str]) -> list[StepSpec]:
    """Add what follows from the present state: wake-ups, skips, phases, the end.

    A skip may make further steps ready, whose conditions are then looked at too. Steps in `busy`
    are under way and are left alone. Returns the steps that are ready after all this.
    """
    run = draft.run
    if run.status in ENDED:
        return []
    if run.tally.waking:
        _wake_due(draft)
    while True:
        known_so_far = len(draft.events)
        waiting = [spec for spec in ready(run) if spec.id not in busy]
        for spec in waiting:
            _decide(draft, spec, known)
        for step_id, cause in unreachable(run).items():
            draft.add(EventType.STEP_SKIPPED, step_id, {"reason": f"{cause} did not succeed"})
        if len(draft.events) == known_so_far:
            break
    for phase in completed_phases(run):
        draft.add(EventType.MISSION_PHASE_COMPLETED, None, {"phase": phase})
    end = ending(run)
    if end is not None:
        status, error = end
        data = {"status": status.value, "outcome": _outcome(run), "error": error}
        draft.add(EventType.MISSION_FINISHED, None, data)
    return waiting


def _wake_due(draft: Draft) -> None:
    run = draft.run
    for step_id in run.tally.ordered(run.tally.waking):
        state = run.steps[step_id]
        if state.status is Status.WAITING and state.wake_at and state.wake_at <= draft.at:
            draft.add(EventType.STEP_WOKEN, step_id, actor=SYSTEM)


def cancel_rest(draft: Draft, reason: str) -> None:
    """Every step that is not over is cancelled."""
    for step_id, state in draft.run.steps.items():
        if state.status not in ENDED:
            draft.add(EventType.STEP_CANCELLED, step_id, {"reason": reason})


def _decide(draft: Draft, spec: StepSpec, known: Known) -> None:
    """Skip, block or fail a ready step that must not start."""
    state = draft.run.steps[spec.id]
    if state.review == "fail":
        error = "It was interrupted, and a person decided not to run it again."
        draft.add(EventType.STEP_FAILED, spec.id, {"error": error})
        return
    if spec.when is not None and not state.answers and not _holds(draft, spec, spec.when):
        return
    if known(spec) is None:
        reason = f"this build does not know the step kind {spec.kind}@{spec.version}"
        draft.add(EventType.STEP_BLOCKED, spec.id, {"reason": reason})


def _holds(draft: Draft, spec: StepSpec, when: str) -> bool:
    """Whether the step's condition holds; if not, that is recorded."""
    try:
        holds = evaluate(when, _names(draft.run), where=f"steps.{spec.id}.when")
    except InvalidCondition as error:
        draft.add(EventType.STEP_FAILED, spec.id, {"error": str(error)})
        return False
    if not holds:
        reason = f"the condition {when!r} does not hold"
        draft.add(EventType.STEP_SKIPPED, spec.id, {"reason": reason})
    return holds


def _names(run: Run) -> dict[str, Json]:
    """What a condition may read: the mission, and of each step that is over its outputs and
    whether it was `skipped`."""
    mission = run.mission
    facts = {
        "auto_implement": mission.auto_implement,
        "hold": mission.hold,
        "severity": mission.severity.value,
        "constraints": mission.constraints,
    }
    over = {
        step_id: {**state.outputs, "skipped": state.status is Status.SKIPPED}
        for step_id, state in run.steps.items()
        if state.status in SATISFIED
    }
    return {**over, "mission": facts}


def _outcome(run: Run) -> str | None:
    """The result in one word, as the last step that names one has it."""
    words = [run.steps[spec.id].outputs.get("outcome") for spec in run.plan.steps]
    return next((str(word) for word in reversed(words) if word), None)
