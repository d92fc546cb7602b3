"""A promotion that is refused waits and changes nothing; one that happened can be taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from quarterdeck.app import Orchestrator
from quarterdeck.core.errors import Conflict, Refused
from tests.accept.building import (
    CALC,
    FIXED,
    commit,
    git,
    installation,
    over_http,
    repository,
    show,
    tip,
    writing,
)

pytestmark = [pytest.mark.req("ORC-11"), pytest.mark.slow]

BRIEF = "add gives wrong sums; make it right."


@dataclass
class Proved:
    """A mission that waits for the promotion of a proved change."""

    orchestrator: Orchestrator
    client: httpx2.AsyncClient
    repo: Path

    async def promote(self, expected: int = 409) -> dict[str, Any]:
        answer = await self.client.post("/api/missions/orchestrate/promote/m1")
        assert answer.status_code == expected, answer.text
        return answer.json()

    async def view(self) -> dict[str, Any]:
        return (await self.client.get("/api/missions/m1", params={"wait_s": 60})).json()

    async def answer(self, choice: str) -> dict[str, Any]:
        given = {"choice": choice}
        answer = await self.client.post(
            "/api/missions/m1/answers", json=given, params={"wait_s": 60}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def roll_back(self, expected: int) -> dict[str, Any]:
        answer = await self.client.post(
            "/api/missions/m1/rollback", json={"reason": "worse"}, params={"wait_s": 60}
        )
        assert answer.status_code == expected, answer.text
        return answer.json()


@asynccontextmanager
async def proved(tmp_path: Path, data_dir: Path) -> AsyncIterator[Proved]:
    repo = repository(tmp_path / "repo")
    async with installation(data_dir) as orchestrator, over_http(orchestrator) as client:
        result = await orchestrator.execute_mission(
            brief=BRIEF,
            mission_id="m1",
            repository=str(repo),
            auto_implement=True,
            **writing(("calc.py", FIXED)),
        )
        assert result["status"] == "awaiting_promotion_approval", result
        yield Proved(orchestrator, client, repo)


async def test_a_dirty_checkout_is_left_alone_until_it_is_clean(tmp_path: Path, data_dir: Path):
    async with proved(tmp_path, data_dir) as it:
        before = tip(it.repo)
        (it.repo / "calc.py").write_text(CALC + "# mine\n")

        problem = await it.promote()
        assert "changes that are not committed" in problem["detail"]
        assert problem["type"].endswith("refused")
        assert tip(it.repo) == before
        assert (it.repo / "calc.py").read_text() == CALC + "# mine\n"
        view = await it.view()
        assert view["status"] == "waiting"
        assert view["awaiting"][0]["detail"] == {"reason": "dirty_checkout", "files": ["calc.py"]}

        git(it.repo, "checkout", "-q", "--", "calc.py")
        record = (await it.promote(200))["promotion_record"]
        assert record["commit"] == tip(it.repo)
        assert (it.repo / "calc.py").read_text() == FIXED, "a clean checkout follows"


async def test_a_target_that_moved_is_taken_in_and_proved_again(tmp_path: Path, data_dir: Path):
    async with proved(tmp_path, data_dir) as it:
        moved = commit(it.repo, {"other.py": b"OTHER = 1\n"}, "Meanwhile")
        (data_dir / "sandbox/m1/scribble.txt").write_text("not part of the change\n")

        problem = await it.promote()
        assert "has moved since the proof" in problem["detail"]
        assert "reprove" in problem["hint"]
        assert tip(it.repo) == moved
        first = (await it.view())["outputs"]["verify"]["digest"]

        view = await it.answer("reprove")
        question = view["awaiting"][0]
        assert question["step"] == "approve_2", "what is new has to be approved anew"
        assert view["outputs"]["verify_2"]["passed"]
        assert question["digest"] == view["outputs"]["verify_2"]["digest"] != first
        assert (data_dir / "sandbox/m1/other.py").exists()

        record = (await it.promote(200))["promotion_record"]
        assert record["target_before"] == moved
        assert record["proof_digest"] == question["digest"]
        assert show(it.repo, "calc.py") == FIXED.strip()
        assert show(it.repo, "other.py") == "OTHER = 1"
        assert "scribble.txt" not in git(it.repo, "ls-tree", "--name-only", "main")
        ended = await it.view()
        assert (ended["status"], ended["outcome"]) == ("done", "promoted")
        assert not (data_dir / "sandbox/m1").exists()
        kept = it.orchestrator.directory.learning
        assert (kept / "mission_briefs/m1/promotion/promotion_record.json").exists()


async def test_a_conflict_is_said_and_the_mission_can_begin_anew(tmp_path: Path, data_dir: Path):
    async with proved(tmp_path, data_dir) as it:
        other = CALC.replace("return a - b", "return sum((a, b)) - 0")
        moved = commit(it.repo, {"calc.py": other.encode()}, "Meanwhile, here too")

        await it.promote()
        view = await it.answer("reprove")
        question = view["awaiting"][0]
        assert question["step"] == "rebase_2"
        assert "changed the same places: calc.py" in question["question"]
        assert tip(it.repo) == moved
        assert (data_dir / "sandbox/m1/calc.py").read_text() == FIXED

        # The way that the question names: from the target on, on the branch as it is now.
        again = await it.client.post(
            "/api/missions/m1/rerun", json={"step": "target"}, params={"wait_s": 60}
        )
        assert again.status_code == 200, again.text
        assert again.json()["outputs"]["target"]["base_sha"] == moved
        assert (await it.answer("reject"))["outcome"] in {"rejected", "unproved"}
        assert tip(it.repo) == moved


async def test_a_tree_that_breaks_on_the_new_tip_is_not_promoted(tmp_path: Path, data_dir: Path):
    async with proved(tmp_path, data_dir) as it:
        # No conflict in the text, and yet the two do not fit: only the tests on the whole show it.
        test = b"from calc import add\n\n\ndef test_old():\n    assert add(5, 2) == 3\n"
        moved = commit(it.repo, {"tests/test_old.py": test}, "Meanwhile")

        await it.promote()
        view = await it.answer("reprove")
        assert view["outputs"]["verify_2"]["passed"] is False
        assert "implement_3" in {s["id"] for s in view["steps"]}
        await it.client.post("/api/missions/m1/cancel", json={}, params={"wait_s": 30})
        assert tip(it.repo) == moved


async def test_promoting_twice_gives_the_same_record_and_one_commit(tmp_path: Path, data_dir: Path):
    async with proved(tmp_path, data_dir) as it:
        first = await it.promote(200)
        again = await it.promote(200)
        assert again == first
        assert await it.orchestrator.promote_sandbox("m1") == first["promotion_record"]
        assert git(it.repo, "rev-list", "--count", "--merges", "main") == "1"
        late = await it.client.post("/api/missions/m1/answers", json={"choice": "promote"})
        assert late.status_code == 409


async def test_what_is_not_proved_yet_cannot_be_promoted(tmp_path: Path, data_dir: Path):
    repo = repository(tmp_path / "repo")
    async with installation(data_dir) as orchestrator, over_http(orchestrator) as client:
        await orchestrator.execute_mission(brief=BRIEF, mission_id="m1", repository=str(repo))
        it = Proved(orchestrator, client, repo)
        problem = await it.promote()
        assert "does not wait for anybody to promote" in problem["detail"]
        assert "gate (approve, continue, reject)" in problem["hint"]
        with pytest.raises(Conflict):
            await orchestrator.promote_sandbox("m1")
        assert "nothing to roll back" in (await it.roll_back(409))["detail"]


async def test_a_promotion_is_rolled_back_by_its_inverse_and_only_once(
    tmp_path: Path, data_dir: Path
):
    async with proved(tmp_path, data_dir) as it:
        record = (await it.promote(200))["promotion_record"]
        (it.repo / "calc.py").write_text(FIXED + "# mine\n")
        undo = await it.roll_back(201)
        assert undo["awaiting"][0]["detail"]["reason"] == "dirty_checkout"
        assert tip(it.repo) == record["commit"], "refused: nothing was changed"

        git(it.repo, "checkout", "-q", "--", "calc.py")
        done = await it.client.post(
            f"/api/missions/{undo['id']}/answers", json={"choice": "again"}, params={"wait_s": 60}
        )
        assert done.json()["outcome"] == "rolled_back"
        assert show(it.repo, "calc.py") == CALC.strip()
        assert git(it.repo, "rev-parse", "main^") == record["commit"], "history is kept"
        assert (it.repo / "calc.py").read_text() == CALC

        assert f"rolled back already, by {undo['id']}" in (await it.roll_back(409))["detail"]


async def test_a_refusal_is_an_error_of_the_python_api_too(tmp_path: Path, data_dir: Path):
    async with proved(tmp_path, data_dir) as it:
        (it.repo / "calc.py").write_text("mine")
        with pytest.raises(Refused, match="not committed"):
            await it.orchestrator.promote_sandbox("m1")
        rejected = await it.orchestrator.answer_mission("m1", "reject")
        assert rejected["outcome"] == "rejected"
        assert (it.repo / "calc.py").read_text() == "mine"
