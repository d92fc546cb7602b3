"""Many missions on one repository lose nothing: whoever comes too late takes the others in first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from quarterdeck.app import Orchestrator
from quarterdeck.core.errors import Refused
from tests.accept.building import PROJECT, git, installation, repository, show, writing

pytestmark = [pytest.mark.req("ORC-6", "ORC-11"), pytest.mark.slow]

COUNT = 12
ROUNDS_MAX = 40
PART = "def part_{n}():\n    return {value}\n"
TEST = "from part_{n} import part_{n}\n\n\ndef test_part_{n}():\n    assert part_{n}() == {n}\n"


async def _promoted(orchestrator: Orchestrator, mission: str) -> int:
    """Promote, and prove again as often as others were faster; how often that was."""
    for late in range(ROUNDS_MAX):
        try:
            await orchestrator.promote_sandbox(mission)
        except Refused:
            again = await orchestrator.answer_mission(mission, "reprove")
            assert again["status"] == "awaiting_promotion_approval", again
        else:
            return late
    raise AssertionError(f"{mission} never got its turn")


@pytest.mark.timeout(240)
async def test_twelve_missions_on_one_repository_lose_nothing(tmp_path: Path, data_dir: Path):
    parts = {f"part_{n}.py": PART.format(n=n, value=-1) for n in range(COUNT)}
    tests = {f"tests/test_part_{n}.py": TEST.format(n=n) for n in range(COUNT)}
    kept = {name: PROJECT[name] for name in ("tests/run.py", "quarterdeck.yaml")}
    repo = repository(tmp_path / "repo", {**parts, **tests, **kept})

    async with installation(data_dir) as orchestrator:

        async def mission(n: int) -> int:
            result = await orchestrator.execute_mission(
                brief=f"part_{n} gives the wrong number; make it right.",
                mission_id=f"m{n}",
                repository=str(repo),
                auto_implement=True,
                constraints={"must_pass_tests": [f"tests.test_part_{n}::test_part_{n}"]},
                **writing((f"part_{n}.py", PART.format(n=n, value=n))),
            )
            assert result["status"] == "awaiting_promotion_approval", result
            return await _promoted(orchestrator, f"m{n}")

        late = await asyncio.gather(*(mission(n) for n in range(COUNT)))
        ended = [await orchestrator.engine.run(("default", f"m{n}")) for n in range(COUNT)]
        await asyncio.gather(
            *(orchestrator.engine.idle(("default", f"m{n}")) for n in range(COUNT))
        )

    assert [run.outcome for run in ended] == ["promoted"] * COUNT
    for n in range(COUNT):
        assert show(repo, f"part_{n}.py") == PART.format(n=n, value=n).strip()
    assert git(repo, "rev-list", "--count", "--first-parent", "main") == str(1 + COUNT)
    assert git(repo, "status", "--porcelain") == ""
    assert not any((data_dir / "sandbox" / f"m{n}").exists() for n in range(COUNT))
    assert sum(late) > 0, "they did get in each other's way"
