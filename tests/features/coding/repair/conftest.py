"""Small projects with planted bugs, and a repairer let loose on them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from quarterdeck.features.coding.commands import Command, Commands
from quarterdeck.features.coding.implementers.port import Finished, ImplementerEvent, Task
from quarterdeck.features.coding.implementers.repair import RepairImplementer

Repair = Callable[..., Awaitable[Finished]]


@pytest.fixture
def project(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Write a project's files and give its folder."""

    def write(files: Mapping[str, str]) -> Path:
        root = tmp_path / "project"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text).lstrip("\n"))
        return root

    return write


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Task]:
    """A task on a project, judged by pytest."""

    def make(root: Path, **changes: Any) -> Task:
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        argv = changes.pop("argv", (sys.executable, "-m", "pytest", "-q"))
        protected = changes.pop("protected", ())
        commands = Commands("python", test=Command(argv, "here"), protected=protected)
        given: dict[str, Any] = {"budget_s": 30.0} | changes
        return Task("M-1", "Make the tests pass.", root, work, commands, **given)

    return make


@pytest.fixture
def events(task: Callable[..., Task]) -> Callable[..., Awaitable[list[ImplementerEvent]]]:
    async def run(root: Path, **changes: Any) -> list[ImplementerEvent]:
        return [event async for event in RepairImplementer().run(task(root, **changes))]

    return run


@pytest.fixture
def repair(events: Callable[..., Awaitable[list[ImplementerEvent]]]) -> Repair:
    """Run the repairer on a project to its end."""

    async def run(root: Path, **changes: Any) -> Finished:
        last = (await events(root, **changes))[-1]
        assert isinstance(last, Finished)
        return last

    return run
