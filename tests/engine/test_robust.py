"""What must never happen: a stranded mission, a lost answer, a cancel that takes its time."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from quarterdeck.core.errors import Conflict, InvalidInput, StepFailed, Unavailable
from quarterdeck.core.events import EventType
from quarterdeck.core.plan import Patch, StepSpec
from quarterdeck.core.run import Status
from quarterdeck.core.step import Choice, Done, Effect, Wait
from quarterdeck.engine import drive
from quarterdeck.engine import engine as engine_module
from quarterdeck.engine.engine import Engine
from quarterdeck.engine.slots import Slots
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log
from tests.engine.building import kind, mission, plan, yes

KEY = ("default", "m1")
QUESTION = Wait("Go on?", (Choice("yes", "Go on"), Choice("no", "Stop")))


async def done(ctx) -> Done:
    return Done({"saw": sorted(ctx.outputs)})


async def ask(ctx) -> Done | Wait:
    return Done({"choice": ctx.answers[-1].choice}) if ctx.answers else QUESTION


async def types_of(engine) -> list[str]:
    return [recorded.event.type.value for recorded in await engine.events(KEY)]


@pytest.mark.req("DAG-4")
async def test_a_skip_does_not_let_a_follower_start_without_its_condition(at, within):
    ran: list[str] = []

    async def note(ctx):
        ran.append(ctx.step.id)
        return Done({"ok": False})

    steps = plan(
        {"id": "a", "kind": "note"},
        {"id": "b", "kind": "note", "needs": ["a"], "when": "a.ok"},
        {"id": "c", "kind": "note", "needs": ["b"], "when": "not b.skipped"},
        {"id": "d", "kind": "unheard_of", "needs": ["c"], "when": "not c.skipped"},
        {"id": "e", "kind": "note", "needs": ["d"]},
    )
    async with at(kind("note", note)) as engine:
        await engine.submit(mission(), steps)
        run = await within(engine.ended(KEY))
    assert ran == ["a", "e"]
    assert run.in_status(Status.SKIPPED) == ["b", "c", "d"]


async def test_a_follower_of_unknown_kind_behind_a_skip_is_blocked(at, within):
    steps = plan(
        {"id": "a", "kind": "done", "when": "mission.hold"},
        {"id": "b", "kind": "unheard_of", "needs": ["a"]},
    )
    async with at(kind("done", done)) as engine:
        await engine.submit(mission(), steps)
        run = await within(engine.idle(KEY))
    assert run.steps["b"].status is Status.BLOCKED


async def test_a_version_unknown_to_this_build_blocks(at, within):
    async with at(kind("done", done)) as engine:
        await engine.submit(mission(), plan({"id": "done", "version": 2}))
        run = await within(engine.idle(KEY))
        assert "done@2" in (run.steps["done"].reason or "")
    async with at(kind("done", done, version=2)) as engine:
        assert (await within(engine.ended(KEY))).status is Status.DONE


@pytest.mark.parametrize("choice", ["again", "fail"])
async def test_a_review_decides_whether_an_external_step_runs_again(at, within, choice):
    started = asyncio.Event()
    ran: list[tuple] = []

    async def outside(ctx):
        ran.append(ctx.answers)
        started.set()
        if ctx.interruptions == 0:
            await asyncio.sleep(60)
        return Done()

    external = kind("outside", outside, effect=Effect.EXTERNAL)
    async with at(external) as engine:
        await engine.submit(mission(), plan({"id": "outside"}))
        await within(started.wait())
    async with at(external) as engine:
        await within(engine.idle(KEY))
        events = await engine.events(KEY)
        await engine.answer(KEY, "outside", yes(choice))
        run = await within(engine.ended(KEY))
    assert [e.event.type.value for e in events[-2:]] == ["step.interrupted", "step.waiting"]
    if choice == "fail":
        assert ran == [()]
        assert run.status is Status.FAILED
        assert "person decided" in (run.error or "")
    else:
        assert ran == [(), ()], "an answer to the review is not one to the step's own question"
        assert run.status is Status.DONE


@pytest.mark.req("RUN-8")
async def test_a_handler_that_ignores_its_cancellation_does_not_hold_up_the_cancel(at, within):
    running, release = asyncio.Event(), asyncio.Event()

    async def stubborn(ctx):
        running.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return Done()

    async with at(kind("stubborn", stubborn), kind("ask", ask)) as engine:
        await engine.submit(mission(), plan({"id": "stubborn"}, {"id": "ask"}))
        await within(running.wait())
        await engine.cancel(KEY, actor="user:owner")
        run = await within(engine.ended(KEY), 1.0)
        assert run.status is Status.CANCELLED
        release.set()
        await asyncio.sleep(0.05)
        assert (await engine.run(KEY)).status is Status.CANCELLED
        assert (await types_of(engine))[-1] == "mission.finished"


@pytest.mark.req("RUN-8")
async def test_a_cancel_whose_process_died_at_once_is_carried_out_at_the_next_start(
    at, within, tmp_path
):
    async with at(kind("ask", ask)) as engine:
        await engine.submit(mission(), plan({"id": "ask"}, {"id": "late", "needs": ["ask"]}))
        await within(engine.idle(KEY))
        driver = await engine._open(KEY)
        told = driver.change(lambda draft: draft.add(EventType.MISSION_CANCEL_REQUESTED))
        await told  # on the disk, and nothing of what follows from it
    async with at(kind("ask", ask)) as engine:
        run = await within(engine.ended(KEY))
    assert run.status is Status.CANCELLED


async def test_a_step_that_meets_a_foreign_cancellation_fails_instead_of_hanging(at, within):
    async def unlucky(ctx):
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone

    async with at(kind("unlucky", unlucky)) as engine:
        await engine.submit(mission(), plan({"id": "unlucky"}))
        run = await within(engine.ended(KEY))
    assert run.status is Status.FAILED


async def test_a_retry_comes_while_another_branch_is_busy(at, within):
    release = asyncio.Event()

    async def long(ctx):
        await release.wait()
        return Done()

    async def flaky(ctx):
        if ctx.attempt == 1:
            raise StepFailed("not yet", retry=True)
        release.set()
        return Done()

    kinds = kind("long", long), kind("flaky", flaky, attempts_max=2, backoff_s=0.02)
    async with at(*kinds) as engine:
        await engine.submit(mission(), plan({"id": "long"}, {"id": "flaky"}))
        run = await within(engine.ended(KEY), 3)
    assert run.status is Status.DONE


async def test_a_question_with_a_time_limit_wakes_while_another_branch_is_busy(at, within):
    release = asyncio.Event()

    async def long(ctx):
        await release.wait()
        return Done()

    async def window(ctx):
        if not hasattr(window, "asked"):
            window.asked = True
            return Wait("Anything wrong?", (), until_s=0.05)
        release.set()
        return Done()

    async with at(kind("long", long), kind("window", window)) as engine:
        await engine.submit(mission(), plan({"id": "long"}, {"id": "window"}))
        run = await within(engine.ended(KEY), 3)
        assert "step.woken" in await types_of(engine)
    assert run.status is Status.DONE


@pytest.mark.parametrize("pause_s", [0.0, 0.4])
async def test_a_wait_with_a_limit_goes_on_after_a_restart(at, within, pause_s):
    asked: list[int] = []

    async def window(ctx):
        asked.append(1)
        return Wait("Wrong?", (), until_s=0.3) if len(asked) == 1 else Done()

    async with at(kind("window", window)) as engine:
        await engine.submit(mission(), plan({"id": "window"}))
        await within(engine.idle(KEY))
    await asyncio.sleep(pause_s)
    async with at(kind("window", window)) as engine:
        run = await within(engine.ended(KEY), 3)
    assert (run.status, len(asked)) == (Status.DONE, 2)


async def test_a_back_off_goes_on_after_a_restart_and_counts_what_was_before(at, within):
    attempts: list[int] = []

    async def flaky(ctx):
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise StepFailed("not yet", retry=True)
        return Done()

    flaky_kind = kind("flaky", flaky, attempts_max=3, backoff_s=0.2)
    async with at(flaky_kind) as engine:
        await engine.submit(mission(), plan({"id": "flaky"}))
        await within(engine.idle(KEY))
    async with at(flaky_kind) as engine:
        run = await within(engine.ended(KEY), 5)
    assert attempts == [1, 2, 3]
    assert run.status is Status.DONE


async def test_added_steps_that_do_not_fit_fail_the_step_with_the_reason(at, within):
    async def planner(ctx):
        return Done({}, Patch(steps=(StepSpec(id="x", kind="done", needs=("nowhere",)),)))

    async with at(kind("planner", planner), kind("done", done)) as engine:
        await engine.submit(mission(), plan({"id": "planner"}))
        run = await within(engine.ended(KEY))
    assert run.status is Status.FAILED
    assert "'nowhere'" in (run.error or "")


@pytest.mark.req("ORC-7")
async def test_a_rewind_behind_the_planner_keeps_the_steps_it_added(at, within):
    async def planner(ctx):
        added = StepSpec(id="fix", kind="done", needs=("planner",))
        return Done({}, Patch(steps=(added,), rewire={"planner": "fix"}))

    steps = plan({"id": "planner"}, {"id": "ask", "needs": ["planner"]})
    async with at(kind("planner", planner), kind("done", done), kind("ask", ask)) as engine:
        await engine.submit(mission(), steps)
        await within(engine.idle(KEY))
        await engine.rewind(KEY, "ask", actor="user:owner", changes={})
        run = await within(engine.idle(KEY))
        assert run.steps["fix"].status is Status.DONE
        await engine.rewind(KEY, "planner", actor="user:owner", changes={"brief": "other"})
        run = await within(engine.idle(KEY))
        assert (run.steps["fix"].round, run.steps["planner"].round) == (1, 2)
        rows = {row["id"]: row["status"] for row in await engine.missions.steps(*KEY)}
        assert rows == {"planner": "done", "fix": "done", "ask": "waiting"}
        with pytest.raises(InvalidInput, match="severity"):
            await engine.rewind(KEY, "ask", actor="user:owner", changes={"severity": "?"})
        await engine.answer(KEY, "ask", yes())
        run = await within(engine.ended(KEY))
    assert run.mission.brief == "other"


async def test_a_rewind_of_a_mission_at_work_is_refused(at, within):
    running = asyncio.Event()

    async def slow(ctx):
        running.set()
        await asyncio.sleep(60)

    async with at(kind("slow", slow)) as engine:
        await engine.submit(mission(), plan({"id": "slow"}))
        await within(running.wait())
        with pytest.raises(Conflict, match="working right now"):
            await engine.rewind(KEY, "slow", actor="user:owner", changes={})


async def test_who_asks_may_go_away_and_the_mission_is_taken_up_all_the_same(at, within):
    async with at(kind("ask", ask)) as engine:
        asked = asyncio.ensure_future(engine.submit(mission(), plan({"id": "ask"})))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        while (await engine.missions.get(*KEY) or {}).get("status") != "waiting":
            await asyncio.sleep(0.01)
        answered = asyncio.ensure_future(engine.answer(KEY, "ask", yes()))
        await asyncio.sleep(0.002)
        answered.cancel()
        await asyncio.gather(answered, return_exceptions=True)
        if (await engine.run(KEY)).steps["ask"].status is Status.WAITING:
            await engine.answer(KEY, "ask", yes())  # it was not heard before it went away
        assert (await within(engine.ended(KEY))).status is Status.DONE


async def test_refused_answers_leave_nothing_in_memory(at, within):
    async with at(kind("ask", ask)) as engine:
        await engine.submit(mission(), plan({"id": "ask"}))
        await within(engine.idle(KEY))
        for _ in range(5):
            with pytest.raises(Conflict):
                await engine.answer(KEY, "ask", yes("maybe"))
            await within(engine.idle(KEY))
        assert engine._drivers == {}
        assert engine._driving == {}
        assert engine._loading == {}


async def test_the_end_is_heard_by_who_starts_to_wait_in_the_last_moment(at, within):
    release = asyncio.Event()

    async def held(ctx):
        await release.wait()
        return Done()

    async with at(kind("held", held)) as engine:
        for n in range(20):
            release.clear()
            key = ("default", f"m{n}")
            await engine.submit(mission(f"m{n}"), plan({"id": "held"}))
            release.set()
            for pause in range(n):
                await asyncio.sleep(0.0002 * (pause % 3))
            assert (await within(engine.ended(key), 2)).status is Status.DONE
        assert engine._ended == {}


@pytest.mark.req("RUN-6")
async def test_a_disk_that_refuses_delays_a_mission_and_loses_nothing(at, within, tmp_path):
    ran: list[str] = []

    async def note(ctx):
        ran.append(ctx.step.id)
        return Done()

    steps = plan(
        {"id": "ask"}, *({"id": f"n{i}", "kind": "note", "needs": ["ask"]} for i in (1, 2))
    )
    async with at(kind("note", note), kind("ask", ask)) as engine:
        await engine.submit(mission(), steps)
        await within(engine.idle(KEY))
        blocker = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        engine.log._connection.execute("PRAGMA busy_timeout = 1")
        blocker.execute("BEGIN IMMEDIATE")
        answered = asyncio.ensure_future(engine.answer(KEY, "ask", yes()))
        while engine.log.degraded is None:
            await asyncio.sleep(0.01)
        assert not answered.done()
        assert ran == []
        with pytest.raises(Unavailable):
            await engine.cancel(KEY, actor="user:owner")
        with pytest.raises(Unavailable):
            await engine.submit(mission("m2"), steps)
        blocker.execute("ROLLBACK")
        blocker.close()
        await within(answered)
        run = await within(engine.ended(KEY))
    assert sorted(ran) == ["n1", "n2"]
    assert run.status is Status.DONE


async def test_an_engine_stops_while_the_disk_refuses(at, within, tmp_path):
    async with at(kind("ask", ask)) as engine:
        await engine.submit(mission(), plan({"id": "ask"}))
        await within(engine.idle(KEY))
        blocker = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        engine.log._connection.execute("PRAGMA busy_timeout = 1")
        blocker.execute("BEGIN IMMEDIATE")
        answered = asyncio.ensure_future(engine.answer(KEY, "ask", yes()))
        while engine.log.degraded is None:
            await asyncio.sleep(0.01)
        await within(engine.stop(), 2)
        await within(engine.log.close(), 2)
        assert isinstance((await asyncio.gather(answered, return_exceptions=True))[0], Unavailable)
        blocker.close()
    async with at(kind("ask", ask)) as engine:
        assert (await engine.run(KEY)).steps["ask"].status is Status.WAITING


def break_conclusions(monkeypatch, times: int) -> list[int]:
    """Have the driver itself fail, so many times, where it records a result."""
    broken: list[int] = []
    conclude = drive.Driver._conclude

    def failing(self, worker, result, kept_apart):
        if len(broken) < times:
            broken.append(1)
            raise RuntimeError("the driver is broken")
        conclude(self, worker, result, kept_apart)

    monkeypatch.setattr(drive.Driver, "_conclude", failing)
    monkeypatch.setattr(engine_module, "PAUSES_S", (0.01, 0.01, 0.01))
    return broken


async def test_a_driver_that_fails_once_is_tried_again(at, within, monkeypatch):
    broken = break_conclusions(monkeypatch, 2)
    async with at(kind("done", done)) as engine:
        await engine.submit(mission(), plan({"id": "done"}))
        run = await within(engine.ended(KEY))
    assert (run.status, len(broken)) == (Status.DONE, 2)
    assert run.steps["done"].interruptions == 2


async def test_a_mission_that_breaks_its_driver_is_blocked_with_the_reason(at, within, monkeypatch):
    break_conclusions(monkeypatch, 100)
    async with at(kind("done", done)) as engine:
        await engine.submit(mission(), plan({"id": "done"}, {"id": "more", "kind": "done"}))
        run = await within(engine.idle(KEY))
        row = await engine.missions.get(*KEY)
        assert row is not None
        assert run.status is Status.BLOCKED
        assert (row["status"], "RuntimeError: the driver is broken" in row["error"]) == (
            "blocked",
            True,
        )
        assert (await types_of(engine))[-1] == "mission.blocked"
        assert engine._drivers == {}
    monkeypatch.undo()
    async with at(kind("done", done)) as engine:
        run = await within(engine.ended(KEY))
    assert (run.status, run.error) == (Status.DONE, None)


async def test_a_plan_of_five_hundred_steps_does_not_cost_the_square(at, within):
    chain = [
        {"id": f"s{i}", "kind": "done", "needs": [f"s{i - 1}"] if i else []} for i in range(500)
    ]

    async def brief(ctx):
        return Done()

    async with at(kind("done", brief)) as engine:
        await engine.submit(mission(), plan(*chain))
        run = await within(engine.ended(KEY), 60)
        found = await engine.events(KEY)
        page = await engine.events(KEY, after=found[400].seq)
    assert run.status is Status.DONE
    assert len(found) == 2 + 2 * 500 + 1
    assert page == found[401:]


async def test_more_steps_than_places_take_turns(at, within):
    at_once = 0
    most = 0

    async def work(ctx):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1
        return Done()

    wide = plan(*({"id": f"s{i}", "kind": "work"} for i in range(40)))
    async with at(kind("work", work, concurrency_max=3)) as engine:
        await engine.submit(mission(), wide)
        run = await within(engine.ended(KEY))
    assert run.status is Status.DONE
    assert most == 3


async def test_a_place_handed_to_somebody_who_goes_away_is_handed_on(within):
    only = kind("only", done, concurrency_max=1)
    slots = Slots([only])
    assert slots.take_now(only)
    first, second = (asyncio.ensure_future(slots.take(only)) for _ in range(2))
    await asyncio.sleep(0)
    slots.give(only)
    first.cancel()
    await within(second)
    slots.give(only)
    assert slots.take_now(only)


async def test_outputs_too_large_for_the_log_wait_for_the_disk(at, within, monkeypatch):
    monkeypatch.setattr(drive, "DISK_RETRY_S", 0.01)

    async def large(ctx):
        return Done({"text": "x" * 100_000})

    async with at(kind("large", large)) as engine:
        put, refusals = engine.artifacts.put, [1, 2]

        async def refusing(*args, **kwargs):
            if refusals:
                refusals.pop()
                raise Unavailable("The artifact cannot be written.")
            return await put(*args, **kwargs)

        monkeypatch.setattr(engine.artifacts, "put", refusing)
        await engine.submit(mission(), plan({"id": "large"}))
        run = await within(engine.ended(KEY))
    assert len(run.steps["large"].outputs["text"]) == 100_000
    assert refusals == []


async def test_two_engines_of_one_directory_agree_on_what_was_recorded(tmp_path, within):
    """What a driver holds in memory is the fold of what the log holds."""

    async def flaky(ctx):
        if ctx.attempt == 1 and ctx.step.id in {"s2", "s5"}:
            raise StepFailed("again", retry=True)
        return Done({"n": ctx.attempt})

    directory = DataDirectory(tmp_path)
    directory.create()
    db = Database(directory.journal)
    log = Log(db)
    kinds = [kind("flaky", flaky, attempts_max=2, backoff_s=0.001)]
    engine = Engine(log, directory, kinds, report=lambda line: None)
    await engine.start()
    steps = plan(
        *({"id": f"s{i}", "kind": "flaky", "needs": [f"s{i // 2}"] if i else []} for i in range(8))
    )
    await engine.submit(mission(), steps)
    lived = await within(engine.ended(KEY))
    assert await engine._load(KEY) == lived
    await engine.stop()
    await log.close()
    db.close()
