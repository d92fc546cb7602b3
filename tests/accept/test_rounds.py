"""A change that does not prove is diagnosed and tried again, and at last handed to a person (ORC-9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.llm.scripted import ScriptedServer
from tests.accept.building import (
    FIXED,
    WITH_PYTEST,
    installation,
    mentors,
    model_server,
    repository,
    running,
    show,
    stored,
    thinking,
    tip,
)

pytestmark = [pytest.mark.req("ORC-9"), pytest.mark.slow]

BRIEF = "add gives wrong sums; make it right."
SECOND_TIME_RIGHT = """
import pathlib
place = pathlib.Path("calc.py")
text = place.read_text()
wrong = text.replace("a - b", "a * b")
place.write_text(wrong if wrong != text else text.replace("a * b", "a + b"))
"""
NEVER_RIGHT = """
import pathlib
place = pathlib.Path("calc.py")
place.write_text(place.read_text().replace("a - b", "a * b") + "# again\\n")
"""


async def test_the_debugging_mentors_are_asked_and_the_next_attempt_counts(
    tmp_path: Path, data_dir: Path
):
    repo = repository(tmp_path / "repo")
    script = {"models": ["qwen2.5-coder:7b", "mistral:7b"], "rules": thinking()}
    async with (
        ScriptedServer(script) as server,
        installation(
            data_dir,
            model_servers=[model_server("ollama", server.url)],
            mentors=mentors("qwen2.5-coder", "mistral"),
        ) as orchestrator,
    ):
        result = await orchestrator.execute_mission(
            brief=BRIEF,
            mission_id="m1",
            repository=str(repo),
            auto_implement=True,
            **running(SECOND_TIME_RIGHT),
        )
        outputs = result["outputs"]
        assert result["status"] == "awaiting_promotion_approval"
        assert [outputs[s]["passed"] for s in ("verify", "verify_2")] == [False, True]
        assert {r["rule"] for r in outputs["verify"]["reasons"]} >= {"tests-failed"}
        assert outputs["diagnose_2"]["proof"] == "verify"
        assert len(outputs["diagnose_2"]["advice"]) == 2
        asked = stored(orchestrator, "mentors/m1/diagnose_2/mistral_response.json")
        assert "test_add" in asked["prompt"]["user"]

        record = await orchestrator.promote_sandbox("m1")
        assert record["proof_digest"] == outputs["verify_2"]["digest"]
        for version in (1, 2):
            assert (orchestrator.directory.learning / f"prototypes/m1/app_v{version}.zip").exists()

    assert show(repo, "calc.py") == FIXED.strip()


async def test_after_the_last_round_a_person_takes_over_and_it_goes_on_to_promotion(
    tmp_path: Path, data_dir: Path
):
    repo = repository(tmp_path / "repo")
    before = tip(repo)
    async with installation(data_dir, coding={"rounds_max": 2}) as orchestrator:
        result = await orchestrator.execute_mission(
            brief=BRIEF,
            mission_id="m1",
            repository=str(repo),
            auto_implement=True,
            **running(NEVER_RIGHT),
        )
        question = result["awaiting"][0]
        assert (question["step"], result["status"]) == ("implement_3", "awaiting_answer")
        assert [c["id"] for c in question["choices"]] == ["continue", "reject"]
        assert tip(repo) == before

        sandbox = Path(question["detail"]["sandbox"])
        (sandbox / "calc.py").write_text("def add(a, b):\n    return 0\n")
        again = await orchestrator.answer_mission("m1", "continue")
        assert again["outputs"]["verify_3"]["passed"] is False
        assert again["awaiting"][0]["step"] == "implement_4"

        (sandbox / "calc.py").write_text(FIXED)
        proved = await orchestrator.answer_mission("m1", "continue")
        assert proved["outputs"]["verify_4"]["passed"] is True
        await orchestrator.promote_sandbox("m1")

    assert show(repo, "calc.py") == FIXED.strip()


async def test_repair_that_finds_nothing_hands_its_suspects_over(tmp_path: Path, data_dir: Path):
    wanted = "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 'five apples'\n"
    repo = repository(tmp_path / "repo", {**WITH_PYTEST, "tests/test_calc.py": wanted})
    async with installation(data_dir, coding={"implement_budget_s": 10}) as orchestrator:
        result = await orchestrator.execute_mission(
            brief=BRIEF, mission_id="m1", repository=str(repo), auto_implement=True
        )
        question = result["awaiting"][0]
        assert question["step"] == "implement"
        handover = question["detail"]["handover"]["repair"]
        assert handover["summary"]
        assert any("calc.py" in str(suspect) for suspect in handover["suspects"]), handover
