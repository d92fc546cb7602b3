"""The documented paths answer with exactly the documented fields (DOC-4)."""

from __future__ import annotations

import asyncio
import json
import shlex
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from quarterdeck.engine.submit import Submission, submit
from quarterdeck.features.objectives import feature
from quarterdeck.server.asgi import create_app
from quarterdeck.server.deps import Desk
from quarterdeck.storage.bus import Bus
from tests.features.objectives.conftest import Bench
from tests.features.objectives.sites import Answer, served
from tests.features.objectives.test_mission import QUESTION, SIX, museum

pytestmark = pytest.mark.req("DOC-4", "RUN-1", "RUN-2")

PROGRESS = {
    *("mission_id", "current_step", "completed_steps", "progress_percent", "elapsed_seconds"),
    *("estimated_time_remaining", "status"),
}
STEP = {
    *("step_name", "step_index", "total_steps", "progress_percent", "status", "message"),
    "timestamp",
}


async def _nothing():
    return {}


@asynccontextmanager
async def client_of(bench: Bench):
    desk = Desk(
        engine=bench.engine,
        recipes=bench.recipes,
        resources=bench.resources,
        bus=Bus(bench.engine.log),
        workspace="default",
        token="the-token",
        health=_nothing,
        models=_nothing,
    )
    app = create_app(desk, [feature.routes], report=print)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app),
        base_url="http://127.0.0.1",
        headers={"Authorization": "Bearer the-token"},
    ) as client:
        yield client


def body(port: int, **more):
    return {"objective": QUESTION, "scope": {"allowed_domains": [f"a.test:{port}"]}, **more}


async def test_the_documented_calls_answer_with_exactly_the_documented_fields(at):
    async with (
        served({"a.test": museum("9:30")}) as sites,
        at(sites.port) as bench,
        client_of(bench) as client,
    ):
        answer = await client.post("/missions/create", json=body(sites.port))
        assert answer.status_code == 200
        mission = answer.json()["mission_id"]
        assert answer.json() == {"mission_id": mission, "status": "proposed"}

        before = await client.get(f"/missions/{mission}/progress")
        assert before.json() == {
            "mission_id": mission,
            "current_step": None,
            "completed_steps": [],
            "progress_percent": 0.0,
            "elapsed_seconds": 0.0,
            "estimated_time_remaining": 15.0,
            "status": "unknown",
        }
        assert before.headers["Quarterdeck-Estimate"] == "default"

        early = await client.post(f"/missions/{mission}/execute")
        assert early.status_code == 409
        approved = await client.post(f"/missions/{mission}/approve")
        assert approved.json() == {"mission_id": mission, "status": "approved"}
        again = await client.post(f"/missions/{mission}/approve", json={"reason": "yes"})
        assert again.status_code == 409
        assert not sites.asked

        executed = await client.post(f"/missions/{mission}/execute?wait_s=20")
        assert executed.json() == {"mission_id": mission, "status": "completed"}
        after = (await client.get(f"/missions/{mission}/progress")).json()
        assert set(after) == PROGRESS
        assert after["status"] == "completed"
        assert (after["current_step"], after["progress_percent"]) == (None, 100.0)
        assert after["estimated_time_remaining"] == 0
        assert after["elapsed_seconds"] > 0
        assert [step["step_name"] for step in after["completed_steps"]] == SIX
        assert all(set(step) == STEP for step in after["completed_steps"])
        assert [step["step_index"] for step in after["completed_steps"]] == [1, 2, 3, 4, 5, 6]
        percents = [step["progress_percent"] for step in after["completed_steps"]]
        assert percents == sorted(percents)
        assert percents[-1] == 100.0
        assert all(step["status"] == "completed" for step in after["completed_steps"])

        shown = (await client.get(f"/api/objectives/{mission}")).json()
        assert shown["execution_record"]["tool_used"] == "site_search"
        assert shown["findings"]["passages"][0]["text"].startswith("The harbour museum")
        await asyncio.wait_for(bench.reactions.caught_up(), 10)
        records = (await client.get("/api/objectives")).json()["records"]
        assert [record["progress_tracker"]["mission_id"] for record in records] == [mission]


CURL = """
curl -X POST {base}/missions/create -H 'Content-Type: application/json' -d '{body}'
curl -X POST {base}/missions/{mission}/approve
curl -X POST {base}/missions/{mission}/execute?wait_s=20
curl {base}/missions/{mission}/progress
"""
"""The calls as the documentation has them; each is sent as curl would send it."""


async def curl(client: httpx2.AsyncClient, line: str) -> dict[str, Any]:
    words = iter(shlex.split(line)[1:])
    method, url, headers, content = "GET", "", {}, None
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            content = next(words)
        else:
            url = word
    answer = await client.request(method, url, headers=headers, content=content)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_documented_lines_work_as_they_stand(at):
    async with (
        served({"a.test": museum("9:30")}) as sites,
        at(sites.port) as bench,
        client_of(bench) as client,
    ):
        answers: list[dict[str, Any]] = []
        for line in CURL.strip().splitlines():
            told = {"base": "http://127.0.0.1", "body": json.dumps(body(sites.port))}
            mission = answers[0]["mission_id"] if answers else ""
            filled = line.replace("{mission}", mission)
            for name, value in told.items():
                filled = filled.replace(f"{{{name}}}", value)
            answers.append(await curl(client, filled))
    assert [set(answer) for answer in answers] == [{"mission_id", "status"}] * 3 + [PROGRESS]
    words = [answer["status"] for answer in answers]
    assert words == ["proposed", "approved", "completed", "completed"]


async def test_progress_is_shown_while_a_step_works(at):
    slow = Answer(b"<p>museum", 200, {"Content-Type": "text/html"}, pause_s=0.3)
    async with (
        served({"a.test": {"/": slow}}) as sites,
        at(sites.port) as bench,
        client_of(bench) as client,
    ):
        run = await bench.propose(QUESTION, f"a.test:{sites.port}")
        place = f"/missions/{run.mission.id}"
        await client.post(f"{place}/approve")
        assert (await client.post(f"{place}/execute")).json()["status"] == "in_progress"
        for _ in range(100):
            found = (await client.get(f"{place}/progress")).json()
            if found["current_step"] == "tool_execution":
                break
            await asyncio.sleep(0.05)
        assert found["status"] == "in_progress"
        assert [step["step_name"] for step in found["completed_steps"]] == SIX[:4]
        assert 0 < found["progress_percent"] < 100
        assert found["estimated_time_remaining"] > 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "progress"), ("POST", "approve"), ("POST", "execute")],
)
@pytest.mark.parametrize("mission", ["mission_none", "No-Such", "..%2fx", "x" * 300, "%00"])
async def test_an_unknown_mission_is_404(at, method, path, mission):
    async with at() as bench, client_of(bench) as client:
        answer = await client.request(method, f"/missions/{mission}/{path}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"objective": QUESTION},
        {"objective": "", "scope": {"allowed_domains": ["a.test"]}},
        {"objective": QUESTION, "scope": {"allowed_domains": []}},
        {"objective": QUESTION, "scope": {"allowed_domains": ["169.254.1"]}},
        {"objective": QUESTION, "scope": {"allowed_domains": ["a.test"]}, "more": 1},
        {"objective": QUESTION, "scope": {"allowed_domains": ["a.test"]}}
        | {"constraints": {"scope": {"allowed_domains": ["b.test"]}}},
        {"objective": QUESTION, "scope": {"allowed_domains": ["a.test"]}}
        | {"constraints": {"budget": {"max_requests": -1}}},
        {"objective": "x\x00", "scope": {"allowed_domains": ["a.test"]}},
        [],
        "x",
    ],
)
async def test_a_proposal_that_does_not_fit_is_refused_and_leaves_nothing(at, given):
    async with at() as bench, client_of(bench) as client:
        answer = await client.post("/missions/create", json=given)
        assert answer.status_code == 422
        assert answer.json()["detail"]
        assert await bench.engine.missions.counts("default") == {}


async def test_a_stale_digest_approves_nothing(at):
    async with at() as bench, client_of(bench) as client:
        mission = (await client.post("/missions/create", json=body(80))).json()["mission_id"]
        stale = await client.post(f"/missions/{mission}/approve", json={"digest": "0" * 64})
        assert stale.status_code == 409
        assert (await client.get(f"/api/objectives/{mission}")).json()["status"] == "proposed"


async def test_strangers_learn_nothing(at):
    async with at() as bench, client_of(bench) as client:
        client.headers.pop("Authorization")
        for method, path in [("POST", "/missions/create"), ("GET", "/missions/x/progress")]:
            assert (await client.request(method, path, json=body(80))).status_code == 401


async def test_a_mission_of_another_recipe_is_answered_elsewhere(at):
    async with at() as bench, client_of(bench) as client:
        given = Submission(brief="x", recipe="solve", hold=True)
        run = await submit(bench.engine, bench.recipes, given, workspace="default", actor="user:x")
        answer = await client.post(f"/missions/{run.mission.id}/approve")
        assert answer.status_code == 409
        assert "/api/missions/" in answer.json()["hint"]
        progress = await client.get(f"/missions/{run.mission.id}/progress")
        assert set(progress.json()) == PROGRESS
