"""The run as the fold of its events: what may happen next, kept up to date by single moves."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck.core.events import Event, EventType
from quarterdeck.core.mission import Mission, Severity
from quarterdeck.core.plan import Patch, Plan, StepSpec
from quarterdeck.core.run import (
    ENDED,
    SATISFIED,
    Run,
    Status,
    apply,
    completed_phases,
    current_step,
    ending,
    fold,
    next_wake,
    percent,
    ready,
    standing,
    started,
    steps_over,
    unreachable,
)
from quarterdeck.core.tally import Tally

AT = "2026-01-01T00:00:00.000Z"
LATER = "2026-01-01T00:00:09.000Z"
ANSWER = {"choice": "yes", "actor": "user:owner", "at": AT, "reason": "", "data": {}}
QUESTION = {"question": "?", "choices": [{"id": "yes", "label": "Yes"}], "digest": None}


def fact(type: EventType, step: str | None = None, **data) -> Event:
    return Event(type, AT, "default", "system", "m1", step, data)


def submitted(plan: Plan) -> Event:
    mission = Mission(
        id="m1", workspace="default", brief="x", created_by="user:owner", created_at=AT
    )
    return fact(
        EventType.MISSION_SUBMITTED,
        mission=mission.model_dump(mode="json"),
        plan=plan.model_dump(mode="json"),
    )


def plan_of(needs: dict[str, list[str]], phases: dict[str, str] | None = None) -> Plan:
    steps = tuple(
        StepSpec(id=i, kind="work", needs=tuple(n), phase=(phases or {}).get(i))
        for i, n in needs.items()
    )
    return Plan(recipe="test", steps=steps)


@st.composite
def plans(draw) -> Plan:
    count = draw(st.integers(1, 9))
    needs = {
        f"s{i}": draw(st.lists(st.sampled_from([f"s{n}" for n in range(i)]), unique=True))
        if i
        else []
        for i in range(count)
    }
    return plan_of(needs, {i: f"p{int(i[1:]) // 3}" for i in needs})


def moves(run: Run, step: str, nth: int) -> list[Event]:
    """The events that may come next for a step, as the engine would record them."""
    state, kind = run.steps[step], EventType
    match state.status:
        case Status.QUEUED if step in run.tally.free:
            options = [fact(kind.STEP_STARTED, step), fact(kind.STEP_SKIPPED, step, reason="no")]
            return [*options, fact(kind.STEP_BLOCKED, step, reason="unknown")]
        case Status.RUNNING:
            added = StepSpec(id=f"x{nth}", kind="work", needs=(step,))
            patch = Patch(steps=(added,), rewire={step: added.id}).model_dump(mode="json")
            return [
                fact(kind.STEP_FINISHED, step, outputs={"n": nth}),
                fact(kind.STEP_FINISHED, step, outputs={}, patch=patch),
                fact(kind.STEP_FAILED, step, error="no", retry_at=LATER),
                fact(kind.STEP_FAILED, step, error="no", retry_at=None),
                fact(kind.STEP_WAITING, step, question=QUESTION, wake_at=LATER),
                fact(kind.STEP_WAITING, step, question={**QUESTION, "review": True}),
                fact(kind.STEP_INTERRUPTED, step),
            ]
        case Status.WAITING:
            answered = fact(kind.STEP_ANSWERED, step, answer=ANSWER, digest=None)
            return [answered, fact(kind.STEP_WOKEN, step), fact(kind.STEP_CANCELLED, step)]
        case Status.BLOCKED:
            return [fact(kind.STEP_UNBLOCKED, step)]
        case _:
            return []


def history(draw, plan: Plan, *, rewinds: bool) -> tuple[list[Event], Run]:
    events = [submitted(plan)]
    run = started(events[0])
    for nth in range(draw(st.integers(0, 25))):
        choices = [move for step in run.steps for move in moves(run, step, nth)]
        if rewinds:
            to = draw(st.sampled_from([spec.id for spec in plan.steps]))
            choices.append(fact(EventType.MISSION_REWOUND, to=to, reason=""))
            choices.append(fact(EventType.MISSION_BLOCKED, reason="broken"))
        choices += [
            fact(EventType.MISSION_PHASE_COMPLETED, phase=phase) for phase in completed_phases(run)
        ]
        if not choices:
            break
        events.append(draw(st.sampled_from(choices)))
        apply(run, events[-1])
    return events, run


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_tally_kept_by_single_moves_says_what_the_states_say(data):
    """`ready` and its like equal their definitions over all steps, after any history (DAG-3)."""
    plan = data.draw(plans())
    run = history(data.draw, plan, rewinds=True)[1]
    steps = run.steps
    assert [spec.id for spec in ready(run)] == [
        spec.id
        for spec in run.plan.steps
        if steps[spec.id].status is Status.QUEUED
        and all(steps[need].status in SATISFIED for need in spec.needs)
    ]
    fresh = Tally(run.plan, run.steps)
    for name in ("specs", "free", "active", "waking", "left", "outputs", "counts", "phases"):
        assert getattr(run.tally, name) == getattr(fresh, name), name
    assert steps_over(run) == sum(state.status in ENDED for state in steps.values())
    moments = [s.wake_at for s in steps.values() if s.wake_at and s.status not in ENDED]
    assert next_wake(run) == min(moments, default=None)
    live = {Status.RUNNING, Status.WAITING, Status.BLOCKED}
    assert current_step(run) == next(
        (spec.id for spec in run.plan.steps if steps[spec.id].status in live), None
    )
    assert (ending(run) is None) == any(state.status not in ENDED for state in steps.values())
    assert standing(run) in Status


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_fold_of_the_stored_events_is_the_run_that_lived_them(data):
    plan = data.draw(plans())
    events, run = history(data.draw, plan, rewinds=True)
    stored = [type(event)(**asdict(event)) for event in events]
    assert fold(stored) == run


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_progress_never_goes_back_while_nothing_is_redone(data):
    plan = data.draw(plans())
    events = history(data.draw, plan, rewinds=False)[0]
    run, shown = started(events[0]), 0.0
    for event in events[1:]:
        apply(run, event)
        extended = bool(event.data.get("patch"))
        failed = run.in_status(Status.FAILED, Status.CANCELLED)
        now = percent(run, dict.fromkeys(run.steps, 2.0))
        assert 0.0 <= now <= 100.0
        assert now >= shown or extended or failed
        shown = now


def test_what_a_failure_leaves_out_is_told_with_the_step_to_blame():
    run = started(submitted(plan_of({"a": [], "b": ["a"], "c": ["b"], "d": []})))
    apply(run, fact(EventType.STEP_STARTED, "a"))
    apply(run, fact(EventType.STEP_FAILED, "a", error="broken", retry_at=None))
    assert unreachable(run) == {"b": "a", "c": "a"}


def grown() -> Run:
    """plan → (added: fix) → check → end, with `plan`, `fix` and `check` done."""
    run = started(submitted(plan_of({"plan": [], "check": ["plan"], "end": ["check"]})))
    added = StepSpec(id="fix", kind="work", needs=("plan",))
    patch = Patch(steps=(added,), rewire={"plan": "fix"}).model_dump(mode="json")
    for step, extra in (("plan", {"patch": patch}), ("fix", {}), ("check", {})):
        apply(run, fact(EventType.STEP_STARTED, step))
        apply(run, fact(EventType.STEP_FINISHED, step, outputs={"by": step}, **extra))
    return run


@pytest.mark.req("ORC-7")
def test_a_rewind_keeps_added_steps_whose_planner_is_not_done_again():
    run = grown()
    apply(run, fact(EventType.MISSION_REWOUND, to="check", reason=""))
    assert run.steps["fix"].status is Status.DONE
    assert run.outputs() == {"plan": {"by": "plan"}, "fix": {"by": "fix"}}
    assert [spec.id for spec in ready(run)] == ["check"]
    assert run.spec("check").needs == ("fix",)


@pytest.mark.req("ORC-7")
def test_a_rewind_to_the_planner_drops_what_it_had_added():
    run = grown()
    apply(run, fact(EventType.MISSION_REWOUND, to="plan", reason=""))
    assert set(run.steps) == {"plan", "check", "end"}
    assert run.spec("check").needs == ("plan",)
    assert {i: s.round for i, s in run.steps.items()} == {"plan": 2, "check": 2, "end": 2}


def test_changes_are_validated_values_and_not_raw_json():
    run = started(submitted(plan_of({"a": []})))
    apply(run, fact(EventType.MISSION_CHANGED, changes={"severity": "high", "brief": "other"}))
    assert run.mission.severity is Severity.HIGH
    assert run.mission.brief == "other"


def test_a_mission_that_is_being_cancelled_moves_by_itself():
    """A crash right after the request must find it among those to go on with."""
    run = started(submitted(plan_of({"a": []})))
    apply(run, fact(EventType.STEP_STARTED, "a"))
    apply(run, fact(EventType.STEP_WAITING, "a", question=QUESTION))
    assert standing(run) is Status.WAITING
    apply(run, fact(EventType.MISSION_CANCEL_REQUESTED))
    assert standing(run) is Status.RUNNING
