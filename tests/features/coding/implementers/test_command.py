"""Any command as an implementer."""

from __future__ import annotations

import sys

import pytest

from quarterdeck.features.coding.implementers.command import CommandImplementer
from quarterdeck.features.coding.implementers.port import Progressed, Status
from tests.features.coding.implementers.conftest import FIXED, MakeTask, end_of, events_of

CODEMOD = """
import pathlib, sys
file = pathlib.Path(sys.argv[1]) / "calc.py"
file.write_text(file.read_text().replace("a - b", "a + b"))
print("changed", file.name)
"""


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", program, *arguments]


@pytest.mark.req("ORC-8")
async def test_a_codemod_changes_the_sandbox(make_task: MakeTask) -> None:
    task = make_task({"argv": python(CODEMOD, "{path}")})
    *progress, last = await events_of(CommandImplementer().run(task))
    assert Progressed("changed calc.py") in progress
    assert (last.status, last.summary) == (Status.CHANGED, "The command changed one file.")
    assert last.evidence["changed"] == ["calc.py"]
    assert (task.path / "calc.py").read_text() == FIXED


async def test_a_command_that_fails_hands_over_its_tail(make_task: MakeTask) -> None:
    task = make_task({"argv": python("import sys; print('no such rule'); sys.exit(3)")})
    last = await end_of(CommandImplementer().run(task))
    assert last.status is Status.FAILED
    assert last.summary.endswith("failed with exit code 3.")
    assert last.handover["tail"] == "no such rule"


async def test_a_command_that_changes_nothing_says_so(make_task: MakeTask) -> None:
    last = await end_of(CommandImplementer().run(make_task({"argv": python("pass")})))
    assert last.status is Status.UNCHANGED


async def test_its_own_time_limit_holds(make_task: MakeTask) -> None:
    task = make_task({"argv": python("import time; time.sleep(60)"), "timeout_s": 0.5})
    last = await end_of(CommandImplementer().run(task))
    assert last.status is Status.FAILED
    assert "was stopped after" in last.summary


@pytest.mark.parametrize("options", [{}, {"argv": "sed -i x"}, {"argv": ["/no/such/program"]}])
async def test_a_command_that_cannot_be_started_is_a_failed_end(
    make_task: MakeTask, options: dict[str, object]
) -> None:
    last = await end_of(CommandImplementer().run(make_task(options)))
    assert last.status is Status.FAILED
    assert last.summary


async def test_the_command_sees_its_own_environment_only(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_SECRET", "hunter2")
    program = "import os; print(os.environ.get('SERVER_SECRET'), os.environ['MINE'])"
    task = make_task({"argv": python(program), "env": {"MINE": "yes"}})
    events = await events_of(CommandImplementer().run(task))
    assert Progressed("None yes") in events
