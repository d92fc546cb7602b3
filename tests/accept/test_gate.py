"""Who implements: the product once somebody said yes, a person in the sandbox, or nobody (ORC-7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.accept.building import (
    CALC,
    FIXED,
    git,
    installation,
    over_http,
    repository,
    running,
    show,
    tip,
    writing,
)

pytestmark = [pytest.mark.req("ORC-7"), pytest.mark.slow]

BRIEF = "add gives wrong sums; make it right."


async def test_it_pauses_after_the_sandbox_and_goes_on_when_approved(
    tmp_path: Path, data_dir: Path
):
    repo = repository(tmp_path / "repo")
    async with installation(data_dir) as orchestrator:
        paused = await orchestrator.execute_mission(
            brief=BRIEF, mission_id="m1", repository=str(repo), **writing(("calc.py", FIXED))
        )
        assert paused["execution_result"]["status"] == "awaiting_implementation_approval"
        assert paused["execution_result"]["phases"][:4] == [
            {"phase": phase, "status": "completed"}
            for phase in ("definition", "mentor_consultation", "planning", "sandbox_creation")
        ]
        sandbox = Path(paused["outputs"]["sandbox"]["path"])
        assert sandbox == data_dir / "sandbox" / "m1"
        assert paused["outputs"]["sandbox"]["branch"] == "mission-m1"
        assert (sandbox / "calc.py").read_text() == CALC

        proved = await orchestrator.answer_mission("m1", "approve")
        assert proved["status"] == "awaiting_promotion_approval"
        await orchestrator.promote_sandbox("m1")

        assert show(repo, "calc.py") == FIXED.strip()
        assert not sandbox.exists()


async def test_a_person_implements_it_by_hand(tmp_path: Path, data_dir: Path):
    repo = repository(tmp_path / "repo")
    async with installation(data_dir) as orchestrator:
        paused = await orchestrator.execute_mission(
            brief=BRIEF, mission_id="m1", repository=str(repo)
        )
        sandbox = Path(paused["outputs"]["sandbox"]["path"])

        # Saying so without having changed anything asks again, and says why.
        asked = await orchestrator.answer_mission("m1", "continue")
        assert asked["status"] == "awaiting_answer"
        assert "The sandbox is as it was." in asked["awaiting"][0]["question"]

        (sandbox / "calc.py").write_text(FIXED)
        proved = await orchestrator.answer_mission("m1", "continue")
        assert proved["outputs"]["implement"]["implementer"] == "by_hand"
        assert proved["status"] == "awaiting_promotion_approval"
        await orchestrator.promote_sandbox("m1")

    assert show(repo, "calc.py") == FIXED.strip()


async def test_what_cannot_be_kept_is_said_and_can_be_mended(tmp_path: Path, data_dir: Path):
    repo = repository(tmp_path / "repo")
    async with installation(data_dir) as orchestrator:
        paused = await orchestrator.execute_mission(
            brief=BRIEF, mission_id="m1", repository=str(repo)
        )
        sandbox = Path(paused["outputs"]["sandbox"]["path"])
        (sandbox / "calc.py").write_text(FIXED)
        (sandbox / "passwd").symlink_to("/etc/passwd")

        asked = await orchestrator.answer_mission("m1", "continue")
        assert asked["status"] == "awaiting_answer"
        assert "passwd" in asked["awaiting"][0]["question"]

        (sandbox / "passwd").unlink()
        proved = await orchestrator.answer_mission("m1", "continue")
        assert proved["status"] == "awaiting_promotion_approval"


async def test_a_rejected_mission_changes_nothing(tmp_path: Path, data_dir: Path):
    repo = repository(tmp_path / "repo")
    before = tip(repo)
    async with installation(data_dir) as orchestrator:
        paused = await orchestrator.execute_mission(
            brief=BRIEF, mission_id="m1", repository=str(repo), **writing(("calc.py", FIXED))
        )
        ended = await orchestrator.answer_mission("m1", "reject")

    assert (ended["status"], ended["outcome"]) == ("completed", "rejected")
    assert tip(repo) == before
    assert git(repo, "status", "--porcelain") == ""
    assert Path(paused["outputs"]["sandbox"]["path"]).is_dir(), (
        "the work stays for whoever wants it"
    )


async def test_a_rerun_with_other_constraints_begins_again_from_the_base(
    tmp_path: Path, data_dir: Path
):
    repo = repository(tmp_path / "repo")
    # It leaves a trace of each time it worked, so that a second round on top of the first shows.
    program = (
        "import pathlib; p = pathlib.Path('notes.txt')\n"
        "p.write_text((p.read_text() if p.exists() else '') + 'worked\\n')\n"
        f"pathlib.Path('calc.py').write_text({FIXED!r})\n"
    )
    async with installation(data_dir) as orchestrator, over_http(orchestrator) as client:
        first = await orchestrator.execute_mission(
            brief=BRIEF,
            mission_id="m1",
            constraints={"urgency": "low"},
            repository=str(repo),
            auto_implement=True,
            **running(program),
        )
        assert first["status"] == "awaiting_promotion_approval"
        kept = first["outputs"]["implement"]["commit"]
        base = first["outputs"]["target"]["base_sha"]

        sandbox = data_dir / "sandbox" / "m1"
        (sandbox / "thought.txt").write_text("by hand, in no snapshot\n")
        answer = await client.post(
            "/api/missions/m1/rerun",
            json={"constraints": {"urgency": "high"}, "reason": "sooner"},
            params={"wait_s": 60},
        )
        assert answer.status_code == 200, answer.text
        second = answer.json()

        assert second["constraints"] == {"urgency": "high"}
        assert [q["step"] for q in second["awaiting"]] == ["approve"]
        assert (sandbox / "notes.txt").read_text() == "worked\n"
        assert not (sandbox / "thought.txt").exists()
        mirror = await orchestrator.coding.mirror(
            (await orchestrator.engine.run(("default", "m1"))).mission
        )
        pinned = "refs/quarterdeck/m1/round-1"
        assert git(mirror.path, "merge-base", "--is-ancestor", kept, pinned, check=False) == ""
        assert git(mirror.path, "show", f"{pinned}:thought.txt") == "by hand, in no snapshot"
        commit = second["outputs"]["implement"]["commit"]
        assert git(mirror.path, "rev-parse", f"{commit}^") == base

        await orchestrator.promote_sandbox("m1")
        assert show(repo, "notes.txt") == "worked"
        events = await orchestrator.engine.events(("default", "m1"))
        assert [e.event.data["to"] for e in events if e.event.type == "mission.rewound"] == [
            "consult"
        ]


async def test_a_rerun_from_the_target_takes_the_branch_as_it_is_by_then(
    tmp_path: Path, data_dir: Path
):
    repo = repository(tmp_path / "repo")
    async with installation(data_dir) as orchestrator, over_http(orchestrator) as client:
        await orchestrator.execute_mission(
            brief=BRIEF, mission_id="m1", repository=str(repo), **writing(("calc.py", FIXED))
        )
        (repo / "later.txt").write_text("later\n")
        git(repo, "add", "-A")
        git(repo, "commit", "-q", "-m", "Later")

        changed = {"step": "target", "auto_implement": True}
        answer = await client.post("/api/missions/m1/rerun", json=changed, params={"wait_s": 60})
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"]["target"]["base_sha"] == tip(repo)
        await orchestrator.promote_sandbox("m1")

    assert show(repo, "calc.py") == FIXED.strip()
    assert show(repo, "later.txt") == "later"
