"""Three mentors that disagree, over real HTTP, and a cloud model that nobody calls (ORC-3, ORC-4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.llm.scripted import ScriptedServer
from tests.accept.building import (
    MENTOR,
    PROJECT,
    installation,
    mentors,
    model_server,
    opinion,
    repository,
    stored,
    thinking,
)

pytestmark = pytest.mark.req("ORC-3", "ORC-4", "ORC-5")

QWEN, LLAMA, MISTRAL = "qwen2.5-coder:7b", "llama3.2:3b", "mistral:7b"
FIX = "Use a plus sign."
OTHER_FIX = "Turn the minus into a plus."
REDO = "Write the module anew."


def says(model: str, kind: str, text: str) -> dict:
    return {"model": model, "where": "system", "match": MENTOR, "json": opinion(kind, text)}


async def test_the_tally_and_the_dissent_are_those_one_counts_by_hand(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("POSED_KEY", "not-a-key")
    repo = repository(tmp_path / "repo", PROJECT)
    rules = thinking(
        says("qwen", "fix_logic", FIX),
        says("llama", "redesign", REDO),
        says("mistral", "fix_logic", OTHER_FIX),
    )
    local = ScriptedServer({"models": [QWEN, LLAMA, MISTRAL], "rules": rules})
    cloud = ScriptedServer({"models": ["gpt-9"], "rules": rules})
    async with (
        local as near,
        cloud as far,
        installation(
            data_dir,
            model_servers=[
                model_server("ollama", near.url),
                {
                    "name": "cloud",
                    "kind": "openai",
                    "base_url": f"{far.url}/v1",
                    "api_key_env": "POSED_KEY",
                },
            ],
            mentors=mentors("qwen2.5-coder", "llama3.2", "mistral", "gpt-9"),
        ) as orchestrator,
    ):
        result = await orchestrator.execute_mission(
            brief="add gives wrong sums.", mission_id="m1", repository=str(repo)
        )
        assert result["status"] == "awaiting_implementation_approval"

        table = stored(orchestrator, "mentors/m1/summary/roundtable_summary.json")
        assert table["tally"] == "2 of 3 mentors, 2 families"
        assert table["consensus"]["approach"] == "fix_logic"
        assert table["consensus"]["quote"]["text"] in {FIX, OTHER_FIX}
        assert [(one["model"], one["text"]) for one in table["dissent"]] == [
            (f"ollama/{LLAMA}", REDO)
        ]
        assert {r["model"]: r["text"] for r in table["recommendations"]} == {
            f"ollama/{QWEN}": FIX,
            f"ollama/{LLAMA}": REDO,
            f"ollama/{MISTRAL}": OTHER_FIX,
        }
        assert table["routing"]["mentors"] == [f"ollama/{m}" for m in (QWEN, LLAMA, MISTRAL)]
        assert table["confidence"]["calibrated"] is False
        for stem, text in (("qwen2.5-coder", FIX), ("llama3.2", REDO), ("mistral", OTHER_FIX)):
            kept = stored(orchestrator, f"mentors/m1/{stem}_response.json")
            assert text in kept["samples"][0]["text"]
            assert "add gives wrong sums." in kept["prompt"]["user"]
        assert result["outputs"]["plan"]["degraded"] is False

        asked = [chat["model"] for chat in near.chats()]
        assert sorted(asked) == sorted([QWEN, LLAMA, MISTRAL, QWEN]), "three opinions and a plan"
        assert far.chats() == [], "no word of the brief has left the house"
        assert not [r for r in far.received if r.body is not None]


async def test_garbage_nothing_and_endless_answers_hold_up_nobody(tmp_path: Path, data_dir: Path):
    repo = repository(tmp_path / "repo", PROJECT)
    rules = thinking(
        {"model": "qwen", "where": "system", "match": MENTOR, "garbage": "\x00<<not json"},
        {"model": "llama", "where": "system", "match": MENTOR, "endless": True, "text": "and on"},
        {"model": "mistral", "where": "system", "match": MENTOR, "text": ""},
        {"model": "phi", "where": "system", "match": MENTOR, "error": {"status": 500}},
    )
    async with (
        ScriptedServer({"models": [QWEN, LLAMA, MISTRAL, "phi"], "rules": rules}) as server,
        installation(
            data_dir,
            model_servers=[model_server("ollama", server.url)],
            mentors=mentors("qwen2.5-coder", "llama3.2", "mistral", "phi", mentor_timeout_s=2),
        ) as orchestrator,
    ):
        result = await orchestrator.execute_mission(
            brief="add gives wrong sums.", mission_id="m1", repository=str(repo)
        )

        assert result["status"] == "awaiting_implementation_approval"
        answers = result["outputs"]["consult"]["answers"]
        assert len(answers) == 4
        assert all(answer["error"] for answer in answers), "each says what was wrong with it"
        assert result["outputs"]["agree"]["consensus"]["approach"] is None
