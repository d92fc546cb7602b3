"""The port's promises, kept by every implementer there is, however its work behaves."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.core.clock import SystemClock
from quarterdeck.features.coding.implementers import scripted_acp
from quarterdeck.features.coding.implementers.acp import AcpImplementer
from quarterdeck.features.coding.implementers.agent import AgentImplementer
from quarterdeck.features.coding.implementers.command import CommandImplementer
from quarterdeck.features.coding.implementers.confined import Grants
from quarterdeck.features.coding.implementers.port import (
    Finished,
    Implementer,
    ImplementerEvent,
    Progressed,
    Status,
)
from quarterdeck.features.coding.implementers.progress import MESSAGE_MAX
from quarterdeck.features.coding.implementers.repair import RepairImplementer
from quarterdeck.llm.configured import provider_for
from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import ModelRef
from quarterdeck.llm.providers.settings import ProviderSettings
from quarterdeck.llm.scripted import ScriptedServer
from tests.features.coding.implementers.conftest import (
    FIXED,
    MakeTask,
    events_of,
    gone,
    processes_in,
)

GRACE_S = 6.0
"""What ending an agent politely, and its processes less politely, may take on a busy machine."""
EVENTS_MAX = 400

Given = tuple[Implementer, dict[str, Any]]
MakeGiven = Callable[[str], Awaitable[Given]]


@dataclass(frozen=True)
class Place:
    """Where a run takes place; nothing in `neighbour` may change."""

    sandbox: Path
    scripts: Path
    neighbour: Path


def python(program: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", program]


def writes_to(path: Path) -> str:
    return f"open({str(path)!r}, 'w').write('x')"


# ------------------------------------------------------------------------------- subjects


@asynccontextmanager
async def command(behaviour: str, place: Place) -> AsyncIterator[Given]:
    child = "import subprocess, sys, time; print('up', flush=True)\n"
    child += "subprocess.run([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(99)'])"
    program = {
        "works": f"open('calc.py', 'w').write({FIXED!r})",
        "hangs": child,
        "talks": "for n in range(50_000): print('line', n)\nprint('x' * 1_000_000)",
        "escapes": writes_to(place.neighbour / "new"),
    }[behaviour]
    yield CommandImplementer(), {"argv": python(program)}


@asynccontextmanager
async def acp(behaviour: str, place: Place) -> AsyncIterator[Given]:
    scenario = {"works": "fix", "hangs": "hang", "talks": "flood", "escapes": "escape"}[behaviour]
    script = place.scripts / "script.json"
    edits = [{"path": "calc.py", "content": FIXED}]
    said = {"scenario": scenario, "edits": edits, "updates": 3_000}
    script.write_text(json.dumps({**said, "outside": str(place.neighbour / "new")}))
    grants = Grants(readable=(Path(scripted_acp.__file__).parent, place.scripts))
    yield AcpImplementer(grants=grants), {"argv": scripted_acp.argv_of(script)}


def _tool(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"nth": 1, "tool_calls": [{"name": tool, "arguments": arguments}]}


@asynccontextmanager
async def _model(rules: list[dict[str, Any]], options: dict[str, Any]) -> AsyncIterator[Given]:
    async with ScriptedServer(rules, models=["coder:7b"]) as server:
        settings = ProviderSettings("box", "openai_compatible", base_url=f"{server.url}/v1")
        gateway = Gateway([provider_for(settings)], on_usage=lambda _: None)
        yield AgentImplementer(gateway, model=ModelRef("box", "coder:7b")), options
        await gateway.aclose()


@asynccontextmanager
async def agent(behaviour: str, place: Place) -> AsyncIterator[Given]:
    finish = _tool("finish", summary="Done.")
    many = [_tool("write_file", path=f"n{n}.txt", content="x") for n in range(60)]
    outside = place.neighbour / "new"
    rules = {
        "works": [_tool("write_file", path="calc.py", content=FIXED), finish],
        "hangs": [_tool("run_command", name="sleep")],
        "talks": [*many, finish],
        "escapes": [
            _tool("write_file", path=str(outside), content="x"),
            _tool("write_file", path="../neighbour/new", content="x"),
            _tool("run_command", name="escape"),
            finish,
        ],
    }[behaviour]
    commands = {
        "sleep": python("import time; time.sleep(99)"),
        "escape": python(writes_to(outside)),
    }
    options = {"mode": "tools", "commands": commands, "steps_max": 80}
    async with _model(rules, options) as given:
        yield given


@asynccontextmanager
async def agent_in_whole_files(behaviour: str, place: Place) -> AsyncIterator[Given]:
    def answer(path: str, summary: str = "Done.") -> dict[str, Any]:
        files = [{"path": path, "content": FIXED}]
        return {"nth": 1, "json": {"summary": summary, "files": files, "done": True}}

    rules = {
        "works": [answer("calc.py")],
        "hangs": [{"hang": True}],
        "talks": [answer("calc.py", "x" * 400)],
        "escapes": [answer("../neighbour/new"), answer("calc.py")],
    }[behaviour]
    async with _model(rules, {"mode": "whole_file"}) as given:
        yield given


@asynccontextmanager
async def repair(behaviour: str, place: Place) -> AsyncIterator[Given]:
    test = place.sandbox / "test_calc.py"
    added = {
        "works": "",
        "hangs": "\n\ndef test_slow() -> None:\n    import time\n    time.sleep(99)\n",
        "talks": "\n\ndef test_loud() -> None:\n    print('x' * 1_000_000)\n    assert add(1, 1) == 2\n",
        "escapes": f"\n\ndef test_out() -> None:\n    {writes_to(place.neighbour / 'new')}\n",
    }[behaviour]
    test.write_text(test.read_text() + added)
    yield RepairImplementer(), {}


SUBJECTS: list[Callable[[str, Place], Any]] = [
    command,
    acp,
    agent,
    agent_in_whole_files,
    repair,
]

# ------------------------------------------------------------------------------- promises


@pytest.fixture(params=SUBJECTS, ids=lambda subject: subject.__name__)
async def given(
    request: pytest.FixtureRequest, project: Path, tmp_path: Path
) -> AsyncIterator[MakeGiven]:
    """Makes one implementer and the options that let its work behave in a certain way."""
    place = Place(project, tmp_path / "scripts", tmp_path / "neighbour")
    place.scripts.mkdir()
    place.neighbour.mkdir()
    (place.neighbour / "file").write_text("untouched")
    async with AsyncExitStack() as stack:
        yield lambda behaviour: stack.enter_async_context(request.param(behaviour, place))


def neighbour_of(place: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (place.parent / "neighbour").iterdir()}


async def closed(events: AsyncIterator[ImplementerEvent]) -> None:
    await events.aclose()  # type: ignore[attr-defined] - the port's iterators can be closed


@pytest.mark.slow
@pytest.mark.req("ORC-8")
@pytest.mark.parametrize("behaviour", ["works", "talks", "escapes"])
async def test_the_last_event_is_finished_and_nothing_outside_has_changed(
    given: MakeGiven, make_task: MakeTask, behaviour: str
) -> None:
    implementer, options = await given(behaviour)
    task = make_task(options)
    *before, last = await events_of(implementer.run(task))
    assert isinstance(last, Finished)
    assert last.summary
    assert not any(isinstance(event, Finished) for event in before)
    json.dumps([last.evidence, last.handover])
    assert neighbour_of(task.path) == {"file": "untouched"}
    assert await gone(task.path.parent)
    if behaviour == "works":
        assert last.status is Status.CHANGED
        assert "a + b" in (task.path / "calc.py").read_text()


@pytest.mark.slow
async def test_progress_is_bounded(given: MakeGiven, make_task: MakeTask) -> None:
    implementer, options = await given("talks")
    events = await events_of(implementer.run(make_task(options)))
    assert len(events) <= EVENTS_MAX
    said = [event for event in events if isinstance(event, Progressed)]
    assert all(len(event.message) <= MESSAGE_MAX for event in said)
    assert all(event.fraction is None or 0 <= event.fraction <= 1 for event in said)


@pytest.mark.slow
async def test_the_budget_is_respected(given: MakeGiven, make_task: MakeTask) -> None:
    implementer, options = await given("hangs")
    task = make_task(options, budget_s=3)
    clock = SystemClock()
    begin_s = clock.monotonic_s()
    last = (await events_of(implementer.run(task)))[-1]
    assert clock.monotonic_s() - begin_s < task.budget_s + GRACE_S
    assert isinstance(last, Finished)
    # Repair judges by tests of its own making, and may be done in time.
    assert last.status is not Status.CHANGED or implementer.name == "repair"
    assert await gone(task.path.parent)


@pytest.mark.slow
async def test_closing_the_iterator_ends_every_process(
    given: MakeGiven, make_task: MakeTask
) -> None:
    implementer, options = await given("hangs")
    task = make_task(options)
    events = implementer.run(task)
    await anext(events)
    clock = SystemClock()
    begin_s = clock.monotonic_s()
    await closed(events)
    assert clock.monotonic_s() - begin_s < GRACE_S
    assert await gone(task.path.parent), processes_in(task.path.parent)
