"""Agents of the Agent Client Protocol, played by the scripted one, in every way they can behave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.features.coding.implementers import scripted_acp
from quarterdeck.features.coding.implementers.acp import AcpImplementer
from quarterdeck.features.coding.implementers.confined import Grants
from quarterdeck.features.coding.implementers.port import Progressed, Status, Used
from tests.features.coding.implementers.conftest import (
    BUGGY,
    FIXED,
    MakeTask,
    end_of,
    events_of,
    gone,
    processes_in,
)

EDITS = [{"path": "calc.py", "old": "a - b", "new": "a + b"}]
Scripted = Callable[..., dict[str, Any]]


@pytest.fixture
def implementer(tmp_path: Path) -> AcpImplementer:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    return AcpImplementer(grants=Grants(readable=(Path(scripted_acp.__file__).parent, scripts)))


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    """Options that start the scripted agent with a scenario."""

    def options(scenario: str, *, edits: Any = EDITS, **more: Any) -> dict[str, Any]:
        script = {"scenario": scenario, "edits": edits, "outside": str(tmp_path / "outside")}
        script |= {key: more.pop(key) for key in ("command", "updates") if key in more}
        path = tmp_path / "scripts" / "script.json"
        path.write_text(json.dumps(script))
        return {"argv": scripted_acp.argv_of(path), **more}

    return options


@pytest.mark.req("ORC-8")
async def test_an_agent_fixes_the_project(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    task = make_task(scripted("fix", command=["/bin/ls"]))
    *progress, last = await events_of(implementer.run(task))
    assert (last.status, last.summary) == (Status.CHANGED, "The agent ended its turn.")
    assert (task.path / "calc.py").read_text() == FIXED
    assert last.evidence["changed"] == ["calc.py"]
    assert last.evidence["agent"] == "scripted 1"
    assert last.evidence["usage"] == {
        "context_tokens": 1200,
        "context_size": 32000,
        "cost": {"amount": 0.0, "currency": "USD"},
    }
    assert last.evidence["start_ms"]["initialize"] > 0
    used = [event for event in progress if isinstance(event, Used)]
    assert [(use.model, use.input_tokens) for use in used] == [("scripted 1", None)]
    messages = [event.message for event in progress if isinstance(event, Progressed)]
    assert "Allowed: Edit calc.py (It stays inside the sandbox.)" in messages
    assert "The command ended with 0." in messages


async def test_a_bad_fix_is_a_change_like_any_other(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    edits = [{"path": "calc.py", "old": "a - b", "new": "a * b"}]
    last = await end_of(implementer.run(make_task(scripted("bad-fix", edits=edits))))
    assert last.status is Status.CHANGED


async def test_a_refusal_is_a_failed_end_with_the_last_words(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    last = await end_of(implementer.run(make_task(scripted("fail"))))
    assert (last.status, last.summary) == (Status.FAILED, "The agent refused to go on.")
    assert last.handover["last_words"] == "I cannot do this."


async def test_a_crash_surfaces_at_once_with_what_it_said(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    task = make_task(scripted("crash"))
    async with asyncio.timeout(15):
        last = await end_of(implementer.run(task))
    assert last.status is Status.FAILED
    assert last.summary == "The agent ended with code 3 in the middle of its work."
    assert last.handover["errors"] == "scripted: crashing as told"
    assert last.handover["changed"] == ["calc.py"]


async def test_an_agent_that_hangs_is_ended_with_its_whole_tree(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    task = make_task(scripted("hang", idle_timeout_s=0.5))
    last = await end_of(implementer.run(task))
    assert (last.status, last.summary) == (Status.FAILED, "The agent said nothing for 0.5 s.")
    assert await gone(task.path.parent)


@pytest.mark.slow
async def test_the_budget_ends_an_agent_and_keeps_what_it_did(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    task = make_task(scripted("hang"), budget_s=3)
    last = await end_of(implementer.run(task))
    assert (last.status, last.summary) == (Status.FAILED, "The budget of 3 s is used up.")
    assert last.handover["changed"] == ["calc.py"]
    assert await gone(task.path.parent)


async def test_closing_ends_the_agent_and_its_children(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    task = make_task(scripted("hang"))
    events = implementer.run(task)
    async for event in events:
        if isinstance(event, Progressed) and event.message == "Wrote calc.py.":
            break
    assert processes_in(task.path.parent)
    await events.aclose()
    assert await gone(task.path.parent)


async def test_a_flood_is_bounded_and_does_not_stop_the_agent(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    *progress, last = await events_of(implementer.run(make_task(scripted("flood", updates=3_000))))
    assert last.status is Status.CHANGED
    assert len(progress) < 300
    assert any("left_out" in event.data for event in progress if isinstance(event, Progressed))


@pytest.mark.req("ORC-8")
async def test_no_way_leads_out_of_the_sandbox(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask, tmp_path: Path
) -> None:
    task = make_task(scripted("escape"))
    last = await end_of(implementer.run(task))
    assert not (tmp_path / "outside").exists()
    assert last.handover["last_words"].splitlines() == [
        "fs: refused",
        "fs ..: refused",
        "fs link: refused",
        "terminal: refused",
        "directly: refused",
    ]
    assert last.evidence["client"]["denied"] == 3
    assert last.status is Status.UNCHANGED


async def test_after_a_denial_the_agent_may_do_it_properly(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    task = make_task(scripted("deny-retry"))
    last = await end_of(implementer.run(task))
    assert last.evidence["client"]["denied"] == 1
    assert last.evidence["client"]["allowed"] == 1
    assert (task.path / "calc.py").read_text() == FIXED


async def test_a_command_that_cannot_be_started_ends_with_127(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    task = make_task(scripted("fix", command=["/no/such/program"], idle_timeout_s=20))
    *progress, last = await events_of(implementer.run(task))
    assert last.status is Status.CHANGED
    assert Progressed("The command ended with 127.") in progress


async def test_an_agent_may_be_silent_while_its_command_runs(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    task = make_task(scripted("fix", command=["/bin/sleep", "1.5"], idle_timeout_s=0.5))
    assert (await end_of(implementer.run(task))).status is Status.CHANGED


@pytest.mark.parametrize(
    "answer",
    [
        '{"jsonrpc":"2.0","id":0,"result":null}',
        '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":[]}}',
        '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":2}}',
        '{"jsonrpc":"2.0","id":0,"error":{"code":-32000,"message":"Authentication required"}}',
        '{"jsonrpc":"2.0","id":0,"error":7}',
        '{"jsonrpc":"2.0","id":{},"result":{}}',
        '{"jsonrpc":"2.0","method":7,"id":1}',
        '{"jsonrpc":"2.0","method":"fs/write_text_file","id":1,"params":{"path":7}}',
    ],
)
async def test_an_answer_that_does_not_fit_is_a_failed_end(
    implementer: AcpImplementer, make_task: MakeTask, answer: str
) -> None:
    program = f"read line; echo '{answer}'; sleep 60"
    options = {"argv": ["/bin/sh", "-c", program], "start_timeout_s": 1}
    last = await end_of(implementer.run(make_task(options)))
    assert last.status is Status.FAILED
    assert last.summary


async def test_commands_can_be_forbidden(
    implementer: AcpImplementer, scripted: Scripted, make_task: MakeTask
) -> None:
    options = scripted("fix", command=["/bin/ls"], allow_commands=False)
    last = await end_of(implementer.run(make_task(options)))
    assert last.evidence["client"]["commands"] == 0
    assert last.evidence["client"]["denied"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"argv": "agent --acp"}, "list of arguments"),
        ({"argv": ["/no/such/agent"]}, "There is no program"),
        ({"argv": ["/bin/true"]}, "in the middle of its work"),
        ({"argv": ["/bin/cat"], "start_timeout_s": 0.5}, ""),
        ({"argv": ["/bin/sleep", "60"], "start_timeout_s": 0.5}, "not ready within 0.5 s"),
        ({"argv": ["agent"], "loopback_ports": [5432]}, "not one that agents may reach"),
    ],
    ids=str,
)
async def test_what_is_no_agent_is_a_failed_end(
    implementer: AcpImplementer, make_task: MakeTask, options: dict[str, Any], said: str
) -> None:
    task = make_task(options)
    last = await end_of(implementer.run(task))
    assert last.status is Status.FAILED
    assert said in last.summary
    assert (task.path / "calc.py").read_text() == BUGGY
