"""The engine through its public door."""

from __future__ import annotations

import asyncio

import pytest

from quarterdeck.core.errors import Conflict, NotFound, StepFailed
from quarterdeck.core.events import EventType
from quarterdeck.core.run import Status
from quarterdeck.core.step import Choice, Done, Effect, Wait
from tests.engine.building import kind, mission, plan, yes

KEY = ("default", "m1")
QUESTION = Wait("Go on?", (Choice("yes", "Go on"), Choice("no", "Stop")), digest="d1")


async def done(ctx) -> Done:
    return Done({"saw": sorted(ctx.outputs)})


async def ask(ctx) -> Done | Wait:
    return Done({"choice": ctx.answers[-1].choice}) if ctx.answers else QUESTION


async def types_of(engine) -> list[str]:
    return [recorded.event.type.value for recorded in await engine.events(KEY)]


@pytest.mark.req("DAG-3")
async def test_a_step_starts_when_its_own_needs_are_done_without_a_level_barrier(at, within):
    release = asyncio.Event()
    order: list[str] = []

    async def slow(ctx):
        await release.wait()
        return Done()

    async def note(ctx):
        order.append(ctx.step.id)
        return Done()

    async def last(ctx):
        order.append(ctx.step.id)
        release.set()
        return Done()

    steps = plan(
        {"id": "slow"},
        {"id": "a", "kind": "note"},
        {"id": "b", "kind": "last", "needs": ["a"]},
        {"id": "c", "kind": "note", "needs": ["slow", "b"]},
    )
    async with at(kind("slow", slow), kind("note", note), kind("last", last)) as engine:
        await engine.submit(mission(), steps)
        run = await within(engine.ended(KEY))
    assert order == ["a", "b", "c"]
    assert run.status is Status.DONE


async def test_a_waiting_mission_is_out_of_memory_and_the_first_answer_wins(at, within):
    async with at(kind("ask", ask), kind("done", done)) as engine:
        await engine.submit(mission(), plan({"id": "ask"}, {"id": "done", "needs": ["ask"]}))
        run = await within(engine.idle(KEY))
        assert run.steps["ask"].status is Status.WAITING
        assert engine._drivers == {}
        answers = [engine.answer(KEY, "ask", yes()), engine.answer(KEY, "ask", yes("no"))]
        first, second = await within(asyncio.gather(*answers, return_exceptions=True))
        assert not isinstance(first, Exception)
        assert isinstance(second, Conflict)
        run = await within(engine.ended(KEY))
    assert run.steps["ask"].outputs == {"choice": "yes"}


async def test_an_answer_to_something_that_changed_is_refused(at, within):
    async with at(kind("ask", ask)) as engine:
        await engine.submit(mission(), plan({"id": "ask"}))
        await within(engine.idle(KEY))
        with pytest.raises(Conflict, match="has changed"):
            await engine.answer(KEY, "ask", yes(), digest="old")
        with pytest.raises(Conflict, match="not among the choices"):
            await engine.answer(KEY, "ask", yes("maybe"))
        with pytest.raises(NotFound):
            await engine.answer(("default", "m2"), "ask", yes())


async def test_a_restart_goes_on_where_it_was_and_repeats_no_finished_step(at, within):
    ran: list[str] = []
    release, second = asyncio.Event(), asyncio.Event()

    async def note(ctx):
        ran.append(ctx.step.id)
        if ctx.step.id == "b":
            second.set()
            await release.wait()
        return Done({"interruptions": ctx.interruptions, "attempt": ctx.attempt})

    steps = plan({"id": "a", "kind": "note"}, {"id": "b", "kind": "note", "needs": ["a"]})
    async with at(kind("note", note)) as engine:
        await engine.submit(mission(), steps)
        await within(second.wait())
    release.set()
    async with at(kind("note", note)) as engine:
        run = await within(engine.ended(KEY))
    assert ran == ["a", "b", "b"]
    assert run.steps["b"].outputs == {"interruptions": 1, "attempt": 1}


async def test_an_interrupted_external_step_asks_before_it_runs_again(at, within):
    started = asyncio.Event()
    ran: list[int] = []

    async def outside(ctx):
        ran.append(ctx.interruptions)
        started.set()
        if ctx.interruptions == 0:
            await asyncio.sleep(60)
        return Done()

    external = kind("outside", outside, effect=Effect.EXTERNAL)
    async with at(external) as engine:
        await engine.submit(mission(), plan({"id": "outside"}))
        await within(started.wait())
    async with at(external) as engine:
        run = await within(engine.idle(KEY))
        assert run.steps["outside"].status is Status.WAITING
        assert ran == [0]
        await engine.answer(KEY, "outside", yes("again"))
        run = await within(engine.ended(KEY))
    assert ran == [0, 1]
    assert run.status is Status.DONE


async def test_failures_back_off_and_are_retried_up_to_the_limit(at, within):
    attempts: list[int] = []

    async def flaky(ctx):
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise StepFailed("not yet", retry=True)
        return Done()

    async with at(kind("flaky", flaky, attempts_max=3, backoff_s=0.01)) as engine:
        await engine.submit(mission(), plan({"id": "flaky"}))
        run = await within(engine.ended(KEY))
    assert attempts == [1, 2, 3]
    assert run.status is Status.DONE


async def test_a_failed_step_fails_the_mission_and_says_which_steps_were_left_out(at, within):
    async def broken(ctx):
        raise ValueError("secret detail")

    async with at(kind("broken", broken), kind("done", done)) as engine:
        await engine.submit(
            mission(),
            plan(
                {"id": "broken"},
                {"id": "done"},
                {"id": "after", "kind": "done", "needs": ["broken"]},
            ),
        )
        run = await within(engine.ended(KEY))
    assert run.status is Status.FAILED
    assert run.steps["done"].status is Status.DONE
    assert run.steps["after"].reason == "broken did not succeed"
    assert "broken: Unexpected ValueError" in (run.error or "")


async def test_a_step_over_its_time_fails(at, within):
    async def slow(ctx):
        await asyncio.sleep(60)

    async with at(kind("slow", slow, timeout_s=0.05)) as engine:
        await engine.submit(mission(), plan({"id": "slow"}))
        run = await within(engine.ended(KEY))
    assert run.steps["slow"].reason == "It took longer than 0.05 s."


@pytest.mark.req("RUN-8")
async def test_cancel_stops_running_waiting_and_queued_steps(at, within):
    stopped = asyncio.Event()

    async def slow(ctx):
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    steps = plan({"id": "slow"}, {"id": "ask"}, {"id": "done", "needs": ["slow"]})
    async with at(kind("slow", slow), kind("ask", ask), kind("done", done)) as engine:
        await engine.submit(mission(), steps)
        await asyncio.sleep(0.05)
        await engine.cancel(KEY, actor="user:owner")
        run = await within(engine.ended(KEY), 1.0)
        with pytest.raises(Conflict, match="cancelled already"):
            await engine.cancel(KEY, actor="user:owner")
    assert stopped.is_set()
    assert {s.status for s in run.steps.values()} == {Status.CANCELLED}
    assert run.status is Status.CANCELLED


async def test_conditions_skip_and_the_phases_complete_in_order(at, within):
    steps = plan(
        {"id": "a", "kind": "done", "phase": "one"},
        {"id": "b", "kind": "done", "needs": ["a"], "when": "len(a.saw) > 0", "phase": "two"},
        {"id": "c", "kind": "done", "needs": ["b"], "phase": "two"},
    )
    async with at(kind("done", done)) as engine:
        await engine.submit(mission(), steps)
        run = await within(engine.ended(KEY))
        events = await engine.events(KEY)
    assert run.steps["b"].status is Status.SKIPPED
    assert run.steps["c"].status is Status.DONE
    phases = [
        e.event.data["phase"] for e in events if e.event.type is EventType.MISSION_PHASE_COMPLETED
    ]
    assert phases == ["one", "two"]


async def test_a_kind_unknown_to_this_build_blocks_and_a_later_build_goes_on(at, within):
    async with at() as engine:
        await engine.submit(mission(), plan({"id": "done"}))
        run = await within(engine.idle(KEY))
        assert run.steps["done"].status is Status.BLOCKED
        assert "done@1" in (run.steps["done"].reason or "")
    async with at(kind("done", done)) as engine:
        run = await within(engine.ended(KEY))
    assert run.status is Status.DONE


@pytest.mark.req("ORC-7")
async def test_a_rewind_does_a_step_and_all_after_it_again_with_changed_constraints(at, within):
    seen: list[object] = []

    async def note(ctx):
        seen.append((ctx.step.id, dict(ctx.mission.constraints)))
        return Done()

    steps = plan(
        {"id": "a", "kind": "note"},
        {"id": "b", "kind": "note", "needs": ["a"]},
        {"id": "ask", "needs": ["b"]},
    )
    async with at(kind("note", note), kind("ask", ask)) as engine:
        await engine.submit(mission(), steps)
        await within(engine.idle(KEY))
        await engine.rewind(KEY, "b", actor="user:owner", changes={"constraints": {"x": 1}})
        run = await within(engine.idle(KEY))
        assert run.steps["b"].round == 2
        await engine.answer(KEY, "ask", yes())
        assert (await within(engine.ended(KEY))).status is Status.DONE
    assert seen == [("a", {}), ("b", {}), ("b", {"x": 1})]


async def test_large_outputs_survive_a_restart_outside_of_the_log(at, within):
    async def large(ctx):
        return Done({"text": "x" * 200_000})

    steps = plan({"id": "large"}, {"id": "ask", "needs": ["large"]})
    async with at(kind("large", large), kind("ask", ask)) as engine:
        await engine.submit(mission(), steps)
        await within(engine.idle(KEY))
        assert all(len(r.event.body()) < 70_000 for r in await engine.events(KEY))
    async with at(kind("large", large), kind("ask", ask)) as engine:
        run = await engine.run(KEY)
        assert len(run.steps["large"].outputs["text"]) == 200_000


@pytest.mark.req("ORC-1")
async def test_a_second_mission_of_the_same_id_is_refused(at, within):
    async with at(kind("done", done)) as engine:
        await engine.submit(mission(), plan({"id": "done"}))
        with pytest.raises(Conflict, match="'m1' already"):
            await engine.submit(mission(), plan({"id": "done"}))
        assert (await within(engine.ended(KEY))).status is Status.DONE


async def test_the_read_models_say_what_the_log_says(at, within):
    async with at(kind("ask", ask), kind("done", done)) as engine:
        await engine.submit(mission(), plan({"id": "ask"}, {"id": "done", "needs": ["ask"]}))
        await within(engine.idle(KEY))
        row = await engine.missions.get(*KEY)
        assert row is not None
        assert (row["status"], row["current_step"], row["percent"]) == ("waiting", "ask", 0.0)
        await engine.answer(KEY, "ask", yes())
        await within(engine.ended(KEY))
        row = await engine.missions.get(*KEY)
        steps = {s["id"]: s["status"] for s in await engine.missions.steps(*KEY)}
    assert row is not None
    assert (row["status"], row["percent"], row["steps_done"]) == ("done", 100.0, 2)
    assert steps == {"ask": "done", "done": "done"}
