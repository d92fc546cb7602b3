"""Progress is a reading of the run: the same after a restart, honest about what it does not know."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.clock import iso
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Plan, StepSpec
from quarterdeck.core.run import Run, Status, StepState
from quarterdeck.features.objectives.progress import FIRST_GUESS_S, progress
from quarterdeck.features.objectives.record import state_word
from tests.features.objectives.sites import served
from tests.features.objectives.test_mission import QUESTION, museum

pytestmark = pytest.mark.req("RUN-2", "RUN-3", "DOC-4")

START = datetime.fromisoformat("2026-11-01T10:00:00+00:00")
WEIGHTS = {"ask": 0.0, "a": 1.0, "b": 3.0, "c": 1.0}


def at(seconds: float) -> str:
    return iso(START + timedelta(seconds=seconds))


def run_of(status: Status = Status.RUNNING, **steps: StepState) -> Run:
    plan = Plan(recipe="objective", steps=tuple(StepSpec(id=i, kind="k") for i in WEIGHTS))
    mission = Mission(
        id="m", workspace="default", brief="x", created_by="user:owner", created_at=at(0)
    )
    states = {i: steps.get(i, StepState()) for i in WEIGHTS}
    return Run(mission, plan, plan, states, status=status, updated_at=at(0))


def done(begun: float, ended: float, message: str = "") -> StepState:
    outputs = {"message": message} if message else {}
    return StepState(Status.DONE, outputs=outputs, started_at=at(begun), ended_at=at(ended))


def told(run: Run, seconds: float):
    return progress(run, WEIGHTS, START + timedelta(seconds=seconds))


def test_before_it_begins_nothing_is_known():
    found = told(run_of(ask=StepState(Status.WAITING)), 100)
    assert (found.document["status"], found.basis) == ("unknown", "default")
    assert found.document["elapsed_seconds"] == 0.0
    assert found.document["estimated_time_remaining"] == FIRST_GUESS_S


def test_the_rate_of_this_run_gives_the_estimate():
    run = run_of(ask=done(0, 1), a=done(10, 12), b=StepState(Status.RUNNING, started_at=at(12)))
    found = told(run, 12)
    assert (found.document["current_step"], found.basis) == ("b", "rate")
    assert found.document["progress_percent"] == 20.0
    assert found.document["elapsed_seconds"] == 2.0
    assert found.document["estimated_time_remaining"] == 8.0


def test_a_failure_ends_the_count_and_what_it_left_out_is_not_shown():
    failed = StepState(Status.FAILED, reason="no luck", started_at=at(2), ended_at=at(5))
    skipped = StepState(Status.SKIPPED, reason="b did not succeed", ended_at=at(5))
    found = told(run_of(Status.FAILED, ask=done(0, 0), a=done(1, 2), b=failed, c=skipped), 99)
    assert found.document["status"] == "failed"
    assert (found.document["elapsed_seconds"], found.document["progress_percent"]) == (4.0, 20.0)
    assert found.document["estimated_time_remaining"] == 0.0
    steps = [(s["step_name"], s["status"], s["message"]) for s in found.document["completed_steps"]]
    assert steps == [("a", "completed", ""), ("b", "failed", "no luck")]


def test_what_a_condition_leaves_out_counts_as_gone():
    skipped = StepState(Status.SKIPPED, reason="not needed", ended_at=at(3))
    found = told(run_of(a=done(0, 1), b=skipped, c=done(3, 4)), 9)
    assert (found.document["status"], found.document["progress_percent"]) == ("completed", 100.0)
    assert found.document["completed_steps"][1]["status"] == "skipped"


STATES = st.sampled_from(
    [Status.QUEUED, Status.RUNNING, Status.DONE, Status.FAILED, Status.SKIPPED, Status.CANCELLED]
)


@given(STATES, STATES, STATES, st.floats(0, 1000))
def test_whatever_the_steps_the_figures_fit_together(a, b, c, seconds):
    states = {
        i: StepState(
            status,
            started_at=None if status is Status.QUEUED else at(0),
            ended_at=at(1) if status in {Status.DONE, Status.FAILED} else None,
        )
        for i, status in zip("abc", (a, b, c), strict=True)
    }
    found = told(run_of(**states), seconds).document
    percents = [step["progress_percent"] for step in found["completed_steps"]]
    assert percents == sorted(percents)
    assert 0.0 <= found["progress_percent"] <= 100.0
    assert found["elapsed_seconds"] >= 0.0
    assert found["estimated_time_remaining"] >= 0.0
    assert found["status"] in {"unknown", "in_progress", "completed", "failed"}
    if found["status"] in {"completed", "failed"}:
        assert found["estimated_time_remaining"] == 0.0


async def test_nothing_changes_over_a_restart(at):
    async with served({"a.test": museum("9:30")}) as sites:
        async with at(sites.port) as bench:
            run = await bench.propose(QUESTION, f"a.test:{sites.port}")
            run = await bench.say(run, "approve")
        async with at(sites.port) as bench:
            key = (run.mission.workspace, run.mission.id)
            run = await bench.engine.run(key)
            assert state_word(run) == "approved"
            run = await bench.say(run, "execute")
            before = progress(run, bench.engine.weights(run), bench.engine.clock.now())
            record = await bench.objectives.record(key)
        async with at(sites.port) as bench:
            run = await bench.engine.run(key)
            after = progress(run, bench.engine.weights(run), bench.engine.clock.now())
            assert after == before
            assert await bench.objectives.record(key) == record
            assert record["status"] == "completed"
