"""A feature brief becomes a promoted commit: by an agent or a command, on old and new repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.llm.scripted import ScriptedServer
from tests.accept.building import (
    AGENT,
    SOUND,
    acp,
    coding,
    git,
    installation,
    learning,
    mentors,
    model_server,
    repository,
    show,
    stored,
    thinking,
    tip,
)

pytestmark = [pytest.mark.req("ORC-8", "ORC-11", "ORC-15"), pytest.mark.slow]

TRIPLE = "\n\ndef triple(a):\n    return 3 * a\n"
HALVE = "def halve(a):\n    return a / 2\n"
TEST_TRIPLE = "from calc import triple\n\n\ndef test_triple():\n    assert triple(2) == 6\n"
TEST_HALVE = "from halving import halve\n\n\ndef test_halve():\n    assert halve(4) == 2\n"
NEW = "def greet(name):\n    return f'Hello {name}'\n"
TEST_NEW = (
    "from greeting import greet\n\n\ndef test_greet():\n    assert greet('Ada') == 'Hello Ada'\n"
)
BYE = "def bye(name):\n    return f'Bye {name}'\n"
TEST_BYE = "from leaving import bye\n\n\ndef test_bye():\n    assert bye('Ada') == 'Bye Ada'\n"

SCRIPT = thinking(
    coding("triple", ("calc.py", SOUND["calc.py"] + TRIPLE), ("tests/test_triple.py", TEST_TRIPLE)),
    coding("halve", ("halving.py", HALVE), ("tests/test_halve.py", TEST_HALVE)),
    coding("greet", ("greeting.py", NEW), ("tests/test_greeting.py", TEST_NEW)),
    coding("bye", ("leaving.py", BYE), ("tests/test_leaving.py", TEST_BYE)),
)


def with_model(server: ScriptedServer) -> dict:
    return {
        "model_servers": [model_server("ollama", server.url)],
        "mentors": mentors("scripted"),
        "coding": {"agent_model": "ollama/scripted"},
    }


async def test_the_agent_adds_what_the_brief_asks_for(tmp_path: Path, data_dir: Path):
    repo = repository(tmp_path / "repo", SOUND)
    async with (
        ScriptedServer({"models": ["scripted"], "rules": SCRIPT}) as server,
        installation(data_dir, **with_model(server)) as orchestrator,
    ):
        for word, file in (("triple", "calc.py"), ("halve", "halving.py")):
            result = await orchestrator.execute_mission(
                brief=f"Add a function {word} with a test.",
                mission_id=f"add-{word}",
                repository=str(repo),
                implementer="agent",
                auto_implement=True,
            )
            assert result["status"] == "awaiting_promotion_approval", result
            change = result["outputs"]["implement"]
            assert change["implementer"] == "agent"
            assert {f["path"] for f in change["files"]} == {file, f"tests/test_{word}.py"}
            record = await orchestrator.promote_sandbox(f"add-{word}")
            assert record["commit"] == tip(repo)
            assert f"def {word}" in show(repo, file)


@pytest.mark.parametrize(
    ("word", "file", "test"),
    [
        ("greet", "greeting.py", "tests/test_greeting.py"),
        ("bye", "leaving.py", "tests/test_leaving.py"),
    ],
)
async def test_the_agent_begins_a_new_repository(tmp_path: Path, data_dir: Path, word, file, test):
    async with (
        ScriptedServer({"models": ["scripted"], "rules": SCRIPT}) as server,
        installation(data_dir, **with_model(server)) as orchestrator,
    ):
        result = await orchestrator.execute_mission(
            brief=f"Write a function {word}, with a test.",
            mission_id="new-one",
            implementer="agent",
            auto_implement=True,
        )
        assert result["status"] == "awaiting_promotion_approval", result
        proof = result["outputs"]["verify"]
        assert proof["passed"]
        assert "own-tests-only" in {w["rule"] for w in proof["warnings"]}
        record = await orchestrator.promote_sandbox("new-one")

        made = Path(record["delivered_to"])
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "-q", str(made), str(clone))
        assert sorted(p.name for p in clone.iterdir() if p.name != ".git") == sorted(
            [file, "tests"]
        )
        assert git(clone, "rev-parse", "HEAD") == record["commit"]
        assert (clone / test).exists()
        assert (learning(orchestrator) / "prototypes/new-one/final_build.zip").exists()


async def test_an_acp_agent_adds_what_it_is_asked_for(tmp_path: Path, data_dir: Path):
    repo = repository(tmp_path / "repo", SOUND)
    files = (("calc.py", SOUND["calc.py"] + TRIPLE), ("tests/test_triple.py", TEST_TRIPLE))
    place = tmp_path / "agent"
    readable = {"readable_paths": [str(place), str(AGENT)]}
    async with installation(data_dir, coding=readable) as orchestrator:
        result = await orchestrator.execute_mission(
            brief="Add a function triple with a test.",
            mission_id="add-triple",
            repository=str(repo),
            auto_implement=True,
            **acp(place, *files),
        )
        assert result["status"] == "awaiting_promotion_approval", result
        assert result["outputs"]["implement"]["implementer"] == "acp"
        await orchestrator.promote_sandbox("add-triple")
        assert stored(orchestrator, "test_results/add-triple/test_execution.json")["passed"]

    assert "def triple" in show(repo, "calc.py")
    assert show(repo, "tests/test_triple.py") == TEST_TRIPLE.strip()


async def test_an_acp_agent_begins_a_new_repository(tmp_path: Path, data_dir: Path):
    place = tmp_path / "agent"
    readable = {"readable_paths": [str(place), str(AGENT)]}
    async with installation(data_dir, coding=readable) as orchestrator:
        result = await orchestrator.execute_mission(
            brief="Write a function greet, with a test.",
            mission_id="new-one",
            auto_implement=True,
            **acp(place, ("greeting.py", NEW), ("tests/test_greeting.py", TEST_NEW)),
        )
        assert result["status"] == "awaiting_promotion_approval", result
        record = await orchestrator.promote_sandbox("new-one")
        made = Path(record["delivered_to"])
        assert "Hello" in show(made, "greeting.py")

        # The new repository is one like any other: missions go on in it, and can be taken back.
        await orchestrator.execute_mission(
            brief="Write a function bye, with a test.",
            mission_id="next-one",
            repository=str(made),
            auto_implement=True,
            **acp(place, ("leaving.py", BYE), ("tests/test_leaving.py", TEST_BYE)),
        )
        await orchestrator.promote_sandbox("next-one")
        assert "Bye" in show(made, "leaving.py")
        undone = await orchestrator.execute_mission(
            brief="Not wanted after all.", recipe="rollback", parent="new-one"
        )
        assert undone["outcome"] == "rolled_back", undone
        names = git(made, "ls-tree", "-r", "--name-only", "main").split()
        assert names == ["leaving.py", "tests/test_leaving.py"]
        again = await orchestrator.execute_mission(
            brief="Once more.", recipe="rollback", parent="new-one"
        )
        assert "was rolled back by" in again["error"]
