"""The brief, the plan and the diagnosis as steps of a real engine."""

from __future__ import annotations

from typing import Any

import pytest

from quarterdeck.core.events import EventType
from quarterdeck.core.mission import TaskKind
from quarterdeck.core.run import Status
from quarterdeck.features.mentors import MentorSettings
from quarterdeck.features.mentors.workplan import check, document, plan_of
from tests.features.mentors.building import finished, opinion, roundtable

QWEN, LLAMA = "qwen2.5-coder:7b", "llama3.2:3b"
MODELS = [QWEN, LLAMA]
SETTINGS = MentorSettings(
    table={kind: ("llama3.2", "qwen2.5-coder") for kind in TaskKind}, samples=1, plan_timeout_s=1.0
)
PLANS = "You write the work plan"
AGREED = {"json": opinion(("fix_logic", "Use <= in the loop bound."))}


def task(id: str, *needs: str) -> dict[str, Any]:
    return {"id": id, "description": f"Do {id}.", "needs": list(needs), "estimate_min": 15}


def draft(**phases: Any) -> dict[str, Any]:
    good: dict[str, Any] = {
        "technical_approach": "Mend the bound and prove it.",
        "setup": [task("look")],
        "implementation": [task("mend", "look")],
        "testing": [task("show", "mend")],
        "verification": [task("prove", "show")],
    }
    return good | phases


def planning(*answers: dict[str, Any]) -> list[dict[str, Any]]:
    """Rules: each answer to one request for a plan, in order; opinions otherwise."""
    asked = [{"match": PLANS, "where": "system", "nth": 1, **answer} for answer in answers]
    return [*asked, {"match": PLANS, "where": "system", "error": {"status": 500}}, AGREED]


@pytest.mark.req("ORC-5", "DOC-2")
async def test_one_model_writes_the_plan_from_what_was_agreed(tmp_path):
    async with roundtable(planning({"json": draft()}), MODELS, SETTINGS) as (server, mentors):
        done = await finished(tmp_path, mentors)
    kept = done.file("mission_briefs/m1/plan/implementation_plan.json")
    assert (kept["degraded"], kept["planned_by"]) == (False, f"ollama/{LLAMA}")
    assert [phase["name"] for phase in kept["phases"]] == [
        "setup",
        "implementation",
        "testing",
        "verification",
    ]
    assert kept["phases"][0]["estimated_time"] == "15 min"
    assert kept["dependencies"][0] == {"task": "mend", "needs": "look"}
    graph = plan_of(kept)
    check(graph)
    assert document(graph) == done.outputs("plan")["document"]
    assert graph.model_dump(mode="json") == done.outputs("plan")["graph"]
    user = server.chats()[-1]["messages"][-1]["content"]
    assert "Agreed (2 of 2 mentors, 2 families): Use <= in the loop bound." in user
    stored = [e.data["path"] for e in done.events if e.type is EventType.LEARNING_ARTIFACT_STORED]
    assert stored[-1] == "mission_briefs/m1/plan/implementation_plan.json"


@pytest.mark.req("ORC-5")
async def test_a_wrong_plan_is_corrected_once_with_the_concrete_reason(tmp_path):
    wrong = draft(testing=[task("show", "prove")])
    rules = planning({"json": wrong}, {"json": draft()})
    async with roundtable(rules, MODELS, SETTINGS) as (server, mentors):
        done = await finished(tmp_path, mentors)
    assert done.outputs("plan")["corrected"] is True
    assert done.outputs("plan")["degraded"] is False
    roles = [message["role"] for message in server.chats()[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    correction = server.chats()[-1]["messages"][-1]["content"]
    assert "show (testing) needs 'prove' of a later phase" in correction


@pytest.mark.req("ORC-5")
@pytest.mark.parametrize(
    "answers",
    [
        [{"text": "First we look."}, {"text": "Then we mend."}],
        [{"json": draft(testing=[task("show", "show")])}] * 2,
        [{"error": {"status": 503}}],
        [{"hang": True}],
    ],
    ids=["prose-twice", "wrong-twice", "error", "hang"],
)
async def test_without_a_usable_plan_the_template_is_used_and_marked(tmp_path, answers):
    async with roundtable(planning(*answers), MODELS, SETTINGS) as (server, mentors):
        done = await finished(tmp_path, mentors)
    kept = done.file("mission_briefs/m1/plan/implementation_plan.json")
    assert kept["degraded"] is True
    assert LLAMA in kept["degraded_reason"]
    assert kept["technical_approach"] == "Use <= in the loop bound."
    assert kept["phases"][0]["estimated_time"] == "unknown"
    check(plan_of(kept))
    plans = [c for c in server.chats() if PLANS in c["messages"][0]["content"]]
    assert len(plans) <= 2


@pytest.mark.req("DOC-2")
async def test_the_brief_is_kept_with_its_classification(tmp_path):
    async with roundtable([], MODELS, SETTINGS) as (_, mentors):
        done = await finished(
            tmp_path,
            mentors,
            ["define"],
            constraints={"must_have": ["tests"], "task_kind": "review"},
        )
    kept = done.file("mission_briefs/m1/brief_m1.json")
    assert kept["is_standard_training"] is True
    assert kept["brief"] == "Fix the failing range test"
    assert kept["constraints"] == {"must_have": ["tests"], "task_kind": "review"}
    assert kept["classification"]["kind"] == "review"
    assert done.outputs("define")["task_kind"] == "review"


FAILING = {
    "passed": False,
    "failures": [{"test": "test_upper_bound", "message": "assert 4 == 5"}],
    "diff": "-    while i < n:\n+    while i <= n:",
}


@pytest.mark.req("ORC-9")
async def test_debugging_mentors_see_the_failure_and_the_change(tmp_path):
    async with roundtable([AGREED], MODELS, SETTINGS) as (server, mentors):
        done = await finished(
            tmp_path,
            mentors,
            ["diagnose"],
            before={"baseline": {"passed": False}, "verify": FAILING},
        )
    user = server.chats()[0]["messages"][-1]["content"]
    assert "assert 4 == 5" in user
    assert "while i <= n" in user
    found = done.outputs("diagnose")
    assert (found["proof"], found["routing"]["kind"]) == ("verify", "debugging")
    assert found["tally"] == "2 of 2 mentors, 2 families"
    assert [one["model"] for one in found["advice"]] == [f"ollama/{LLAMA}", f"ollama/{QWEN}"]
    assert found["advice"][0]["approaches"][0]["text"] == "Use <= in the loop bound."
    assert done.file("mentors/m1/diagnose/llama3.2_response.json")["task_kind"] == "debugging"


@pytest.mark.req("ORC-9")
@pytest.mark.parametrize(
    "before", [{}, {"verify": {"passed": True}}, {"baseline": {"passed": False}}]
)
async def test_without_a_failing_proof_there_is_nothing_to_diagnose(tmp_path, before):
    async with roundtable([], MODELS, SETTINGS) as (server, mentors):
        done = await finished(tmp_path, mentors, ["diagnose"], before=before)
    assert done.run.steps["diagnose"].status is Status.FAILED
    assert server.chats() == []
