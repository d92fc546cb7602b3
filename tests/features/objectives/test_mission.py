"""An objective mission from its proposal to its record, on sites that the test serves."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from quarterdeck.core.errors import Conflict, InvalidInput
from quarterdeck.core.events import EventType
from quarterdeck.core.run import Status
from quarterdeck.engine.answers import awaited
from quarterdeck.engine.submit import Submission, submit
from quarterdeck.features.objectives.charter import charter_of, parse_charter
from quarterdeck.features.objectives.record import state_word
from tests.features.objectives.sites import Answer, page, redirect, served

pytestmark = pytest.mark.req("RUN-1")

SIX = [
    "verification",
    "intent_classification",
    "budget_check",
    "tool_selection",
    "tool_execution",
    "finalize",
]
QUESTION = "When does the harbour museum open?"


def museum(hours: str) -> dict[str, Answer]:
    return {
        "/": page("Welcome", "A quiet town by the sea.", links={"/museum": "Harbour museum"}),
        "/museum": page("Harbour museum", f"The harbour museum opens at {hours} on every day."),
    }


def key_of(run):
    return run.mission.workspace, run.mission.id


async def test_a_mission_is_proposed_approved_and_executed_in_six_reported_steps(at):
    hosts = {"a.test": museum("9:30"), "b.test": museum("09.30")}
    async with served(hosts) as sites, at(sites.port) as bench:
        run = await bench.propose(QUESTION, f"a.test:{sites.port}", f"b.test:{sites.port}")
        assert state_word(run) == "proposed"
        run = await bench.say(run, "approve")
        assert state_word(run) == "approved"
        assert not sites.asked, "nothing is fetched before it is executed"
        run = await bench.say(run, "execute")
        assert (run.status, run.outcome, run.error) == (Status.DONE, "found", None)
        assert [spec.id for spec in run.plan.steps][2:] == SIX
        record = run.outputs()["finalize"]["execution_record"]
        assert {"event_type", "status", "tool_used", "tool_confidence", "timestamp"} <= set(record)
        assert set(record) == {
            *("event_type", "status", "tool_used", "tool_confidence", "timestamp", "updated_at"),
            "progress_tracker",
        }
        assert record["event_type"] == "mission_executed"
        assert record["status"] == "completed"
        assert record["tool_used"] == "site_search"
        assert record["tool_confidence"] == 0.75
        tracker = record["progress_tracker"]
        assert [step["step_name"] for step in tracker["completed_steps"]] == SIX
        assert tracker["mission_id"] == run.mission.id
        assert tracker["start_time"] == record["timestamp"]
        assert (tracker["progress_percent"], tracker["estimated_time_remaining"]) == (100.0, 0.0)
        await asyncio.wait_for(bench.reactions.caught_up(), 10)
        stored = await bench.objectives.store.get(*key_of(run))
        assert stored == await bench.objectives.record(key_of(run))
        assert stored["tool_confidence"] == 0.75
        assert await bench.objectives.store.newest("default") == [stored]
        assert await bench.objectives.store.newest("other") == []


async def test_the_execution_log_holds_the_record_and_its_basis(at, tmp_path):
    async with served({"a.test": museum("9:30")}) as sites, at(sites.port) as bench:
        run = await bench.carried_out(QUESTION, f"a.test:{sites.port}")
        place = f"storage/memory/learning/mission_briefs/{run.mission.id}/execution_log"
        log = orjson.loads((tmp_path / place / "execution_log.json").read_bytes())
        assert log["execution_record"] == run.outputs()["finalize"]["execution_record"]
        assert log["approval"]["actor"] == "user:owner"
        assert log["selection"]["candidates"][1]["reason"].startswith("No search engine")
        assert log["evidence"]["sources"] == 1
        # Strangers' text stays out of the learning memory: it is an artifact by itself.
        assert "opens at" not in str(log)
        assert "opens at" in (await bench.engine.artifacts.get(log["findings"]["sha256"])).decode()


async def test_a_rejected_objective_fetches_nothing(at):
    async with served({"a.test": museum("9:30")}) as sites, at(sites.port) as bench:
        run = await bench.propose(QUESTION, f"a.test:{sites.port}")
        run = await bench.say(run, "reject")
        assert (run.status, state_word(run)) == (Status.DONE, "rejected")
        assert not sites.asked
        assert all(run.steps[step].status is Status.SKIPPED for step in SIX)
        await asyncio.wait_for(bench.reactions.caught_up(), 10)
        stored = await bench.objectives.store.get(*key_of(run))
        assert (stored["status"], stored["tool_used"]) == ("rejected", None)


async def test_an_approval_is_bound_to_what_was_looked_at(at):
    async with at() as bench:
        run = await bench.propose(QUESTION, "a.test")
        asked = awaited(run)[0]
        assert asked["digest"] == charter_of(run.mission).digest
        assert asked["detail"]["scope"] == {"allowed_domains": ["a.test"]}
        wider = parse_charter(QUESTION, {"scope": {"allowed_domains": ["a.test", "b.test"]}})
        assert wider.digest != asked["digest"]


async def test_nothing_is_executed_or_approved_out_of_turn(at):
    async with at() as bench:
        run = await bench.propose(QUESTION, "a.test")
        with pytest.raises(Conflict, match="execute"):
            await bench.say(run, "execute")
        run = await bench.say(run, "approve")
        with pytest.raises(Conflict, match="approve"):
            await bench.say(run, "approve")
        await bench.engine.cancel(key_of(run), actor="user:owner")
        run = await bench.rest(run)
        assert state_word(run) == "cancelled"
        with pytest.raises(Conflict, match="cancelled"):
            await bench.say(run, "execute")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "168.63.129.16", "64:ff9b::7f00:1"]
)
async def test_a_scope_that_points_inside_ends_in_the_verification(at, address):
    async with served({"a.test": museum("9:30")}) as sites, at(a_test=address) as bench:
        run = await bench.carried_out(QUESTION, f"a.test:{sites.port}")
        assert state_word(run) == "failed"
        assert "verification: scope: No allowed domain may be reached" in (run.error or "")
        assert not sites.asked
        await asyncio.wait_for(bench.reactions.caught_up(), 10)
        stored = await bench.objectives.store.get(*key_of(run))
        assert (stored["status"], stored["tool_confidence"]) == ("failed", None)


async def test_what_may_be_reached_belongs_to_one_workspace(at):
    async with served({"a.test": museum("9:30")}) as sites, at(sites.port) as bench:
        constraints = {"scope": {"allowed_domains": [f"a.test:{sites.port}"]}}
        given = Submission(brief=QUESTION, recipe="objective", constraints=constraints)
        run = await submit(bench.engine, bench.recipes, given, workspace="other", actor="user:x")
        for choice in ("approve", "execute"):
            run = await bench.say(await bench.rest(run), choice)
        assert "No allowed domain may be reached" in (run.error or "")
        assert not sites.asked


async def test_a_stated_budget_holds(at):
    links = {f"/{n}": "museum" for n in range(30)}
    hosts = {"a.test": {"/": page("Museum", "The harbour museum opens at 9.", links=links)}}
    async with served(hosts) as sites, at(sites.port) as bench:
        domain = f"a.test:{sites.port}"
        run = await bench.carried_out(QUESTION, domain, budget={"max_requests": 6})
        used = run.outputs()["tool_execution"]
        assert used["spent"]["requests"] == 6
        assert "budget" in used["notes"][0]
        checked = run.outputs()["budget_check"]
        assert checked["stated"] == {"max_requests": 6, "max_bytes": None, "max_seconds": None}
        run = await bench.carried_out(QUESTION, domain, budget={"max_requests": 1})
        assert "budget_check: constraints.budget.max_requests" in (run.error or "")


async def test_a_site_that_does_not_answer_leaves_the_confidence_unknown(at):
    async with served({}) as sites:
        port = sites.port
    async with at(port) as bench:
        run = await bench.propose(QUESTION, f"a.test:{port}")
        run = await bench.say(await bench.say(run, "approve"), "execute")
        # The first attempt failed; the next is a second away.
        run = await asyncio.wait_for(bench.engine.ended(key_of(run)), 20)
        assert "tool_execution: tool: Nothing could be looked at" in (run.error or "")
        record = await bench.objectives.record(key_of(run))
        assert (record["status"], record["tool_confidence"]) == ("failed", None)
        assert record["progress_tracker"]["status"] == "failed"


async def test_a_broken_search_engine_gives_way_to_the_sites_themselves(at):
    hosts = {"a.test": museum("9:30"), "127.0.0.1": {"/search": redirect("/elsewhere")}}
    async with served(hosts) as sites, at(sites.port, search=sites.port) as bench:
        names = [f"{name}.a.test:{sites.port}" for name in "bcdef"]
        run = await bench.carried_out(QUESTION, f"a.test:{sites.port}", *names)
        selected, used = run.outputs()["tool_selection"], run.outputs()["tool_execution"]
        assert selected["tool"] == "web_search"
        assert used["tool"] == "site_search"
        assert "The search engine answered 302" in used["notes"][0]


async def test_progress_is_told_while_it_reads(at):
    async with served({"a.test": museum("9:30")}) as sites, at(sites.port) as bench:
        run = await bench.carried_out(QUESTION, f"a.test:{sites.port}")
        events = await bench.engine.events(key_of(run))
        told = [
            e.event.data["message"] for e in events if e.event.type is EventType.STEP_PROGRESSED
        ]
        assert told[-1] == "2 pages read, 0 left out."


async def test_a_mission_that_came_another_way_is_checked_too(at):
    async with at() as bench:
        given = Submission(brief=QUESTION, recipe="objective", constraints={"scope": {}})
        run = await submit(
            bench.engine, bench.recipes, given, workspace="default", actor="user:owner"
        )
        run = await bench.rest(run)
        assert state_word(run) == "failed"
        assert "approval: scope: A scope has exactly the field allowed_domains" in (run.error or "")


@pytest.mark.parametrize(
    ("objective", "constraints", "where"),
    [
        ("   ", {}, "objective"),
        ("?!", {}, "objective"),
        ("x" * 5000, {}, "objective"),
        ("x", {"scopes": {}}, "constraints"),
        ("x", {"tool": "shell"}, "constraints.tool"),
        ("x", {"tool": ["site_search"]}, "constraints.tool"),
        ("x", {"budget": {"max_requests": 0}}, "budget.max_requests"),
        ("x", {"budget": {"max_requests": "10"}}, "budget.max_requests"),
        ("x", {"budget": {"max_requests": True}}, "budget.max_requests"),
        ("x", {"budget": {"max_seconds": -1.0}}, "budget.max_seconds"),
        ("x", {"budget": {"max_cost": 1}}, "budget.max_cost"),
        ("x", {"budget": []}, "budget.budget"),
        ("x", {"scope": {"allowed_domains": ["127.1"]}}, "scope.allowed_domains.0"),
    ],
)
def test_a_charter_that_is_none_is_named(objective, constraints, where):
    given = {"scope": {"allowed_domains": ["a.test"]}, **constraints}
    with pytest.raises(InvalidInput) as caught:
        parse_charter(objective, given)
    assert caught.value.where == where
