"""A small project with one bug in a sandbox, and ways to see what an implementer does with it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from quarterdeck.features.coding.commands import Command, Commands, ReportFormat
from quarterdeck.features.coding.implementers.port import Finished, ImplementerEvent, Task

BUGGY = '"""Sums."""\n\n\ndef add(a: int, b: int) -> int:\n    return a - b\n'
FIXED = BUGGY.replace("a - b", "a + b")
TEST = "from calc import add\n\n\ndef test_add() -> None:\n    assert add(2, 3) == 5\n"
PYTEST = (
    *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
    "--junitxml={report}",
)

MakeTask = Callable[..., Task]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The sandbox: `calc.add` subtracts, and a test knows."""
    root = tmp_path / "sandbox"
    root.mkdir()
    (root / "calc.py").write_text(BUGGY)
    (root / "test_calc.py").write_text(TEST)
    (root / "pytest.ini").write_text("[pytest]\n")
    return root


@pytest.fixture
def make_task(project: Path, tmp_path: Path) -> MakeTask:
    """Makes the task to mend it; options and budget as given."""
    work = tmp_path / "work"
    work.mkdir()
    # Without the plugins of this environment pytest starts in a third of the time.
    env = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = Command(PYTEST, "test", report=ReportFormat.JUNIT, env=env)

    def make(options: Mapping[str, Any] | None = None, *, budget_s: float = 60.0) -> Task:
        return Task(
            mission_id="mission_1",
            brief="calc.add gives wrong sums; make it right.",
            path=project,
            work_dir=work,
            commands=Commands("python", test=command),
            failing=("test_calc::test_add",),
            options=options or {},
            budget_s=budget_s,
        )

    return make


async def events_of(events: AsyncIterator[ImplementerEvent]) -> list[ImplementerEvent]:
    """All events of a run."""
    return [event async for event in events]


async def end_of(events: AsyncIterator[ImplementerEvent]) -> Finished:
    """The last event of a run, which is `Finished`."""
    last = (await events_of(events))[-1]
    assert isinstance(last, Finished)
    return last


def processes_in(place: Path) -> list[str]:
    """The processes that work below a place, or were started with it in their arguments."""
    found: list[str] = []
    for process in psutil.process_iter():
        try:
            if process.pid == psutil.Process().pid or process.status() == psutil.STATUS_ZOMBIE:
                continue
            arguments = " ".join(process.cmdline())
            if str(place) in arguments or process.cwd().startswith(str(place)):
                found.append(arguments)
        except psutil.Error:
            continue
    return found


async def gone(place: Path, *, within_s: float = 3.0) -> bool:
    """Whether no process is left below a place, within a moment."""
    for _ in range(int(within_s / 0.05)):
        if not processes_in(place):
            return True
        await asyncio.sleep(0.05)
    return False
