"""Lessons written by one mission and recalled by the next, on a real engine with its reactions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import orjson
import pytest

from quarterdeck.core.clock import SystemClock, iso
from quarterdeck.core.events import Event, EventType
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Plan, StepSpec
from quarterdeck.core.step import Done, Effect, StepKind
from quarterdeck.engine.context import Resources, StepContext
from quarterdeck.engine.engine import Engine
from quarterdeck.engine.reactions import Reactions
from quarterdeck.features.memory import STEPS, Memory, feature
from quarterdeck.features.memory.lesson import cost_of, lesson, outcome_of, upheld_by
from quarterdeck.storage.artifacts import Artifacts
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Commit, Log

pytestmark = pytest.mark.req("ORC-12")

AGREE = {
    "task_kind": "debugging",
    "agreement_bucket": "majority",
    "tally": "2 of 3 mentors, 2 families",
    "consensus": {"approach": "fix_logic", "quote": {"text": "Use <= in the loop bound."}},
}
VERIFY = {"passed": True, "tests": 12, "report": {"big": "x" * 999}, "commit": "abc"}
CALL = {"input_tokens": 10, "output_tokens": 5, "price": "0.25"}


def mission(
    id: str, brief: str = "The range bound is off by one", workspace: str = "default"
) -> Mission:
    return Mission(
        id=id,
        workspace=workspace,
        brief=brief,
        created_by="user:owner",
        created_at=iso(SystemClock().now()),
    )


def given(name: str, output: Mapping[str, Any]) -> StepKind[StepContext]:
    async def run(ctx: StepContext) -> Done:
        if name == "verify":
            ctx.emit(EventType.MODEL_CALLED, CALL)
        return Done(output)

    return StepKind(name, run, Effect.PURE)


class House:
    """An engine, its reactions and the memory on one data directory."""

    def __init__(self, root: Path, outputs: Mapping[str, Mapping[str, Any]]) -> None:
        self.directory = DataDirectory(root)
        self.directory.create()
        self.kinds = [given(name, output) for name, output in outputs.items()]

    async def __aenter__(self) -> Self:
        self.db = Database(self.directory.journal)
        self.log = Log(self.db, tables=feature.tables)
        self.memory = Memory(self.log, Artifacts(self.directory), SystemClock())
        resources = Resources(self.memory)
        kinds = [*STEPS, *self.kinds]
        self.engine = Engine(
            self.log, self.directory, kinds, resources=resources, report=lambda line: None
        )
        self.reactions = Reactions(
            self.log, feature.reactions, resources=resources, report=lambda line: None
        )
        await self.reactions.start()
        await self.engine.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.stop()
        await self.reactions.stop()
        await self.log.close()
        self.db.close()

    async def run(self, asked: Mission, *steps: str) -> Mapping[str, Mapping[str, Any]]:
        plan = Plan(
            recipe="test",
            steps=tuple(
                StepSpec(id=name, kind=name, needs=tuple(steps[max(0, i - 1) : i]))
                for i, name in enumerate(steps)
            ),
        )
        await self.engine.submit(asked, plan)
        return (await self.engine.ended((asked.workspace, asked.id))).outputs()

    async def until_found(self, workspace: str, text: str) -> list[Any]:
        async with asyncio.timeout(10):
            while not (hits := await self.memory.search(workspace, text)):
                await asyncio.sleep(0.01)
        return hits


async def test_a_lesson_is_written_found_and_recalled_by_the_next_mission(tmp_path):
    outputs = {"agree": AGREE, "verify": VERIFY, "promote": {"promoted": True}}
    async with House(tmp_path, outputs) as house:
        learnt = await house.run(mission("m1"), "agree", "verify", "promote", "learn")
        hits = await house.until_found("default", "loop bound")
        recalled = await house.run(mission("m2", "Range bound again wrong"), "recall")
        elsewhere = await house.run(mission("m3", workspace="other"), "recall")
        outcomes = await house.memory.outcomes("default", "debugging", "majority")
    record = learnt["learn"]["lesson"]
    assert record["approach"] == "fix_logic: Use <= in the loop bound. (2 of 3 mentors, 2 families)"
    assert (record["outcome"], record["upheld"]) == ("promoted", True)
    assert record["evidence"] == {"step": "verify", "passed": True, "tests": 12, "commit": "abc"}
    assert record["cost"]["model_calls"] == 1
    assert record["cost"]["price"] == "0.25"
    assert record["duration_s"] >= 0
    file = house.directory.learning / "mission_briefs/m1/lesson/lesson.json"
    assert orjson.loads(file.read_bytes()) == record
    assert hits[0].outcome == "promoted"
    (found,) = recalled["recall"]["lessons"]
    assert (found["mission"], found["outcome"]) == ("m1", "promoted")
    assert "Use <= in the loop bound." in found["text"]
    assert elsewhere["recall"]["lessons"] == []
    assert outcomes == (1, 1)


async def test_a_rolled_back_mission_no_longer_counts_as_upheld(tmp_path):
    outputs = {"agree": AGREE, "verify": VERIFY, "promote": {"promoted": True}}
    async with House(tmp_path, outputs) as house:
        await house.run(mission("m1"), "agree", "verify", "promote", "learn")
        at = iso(SystemClock().now())
        data = {"mission_id": "m1"}
        fact = Event(
            EventType.MISSION_ROLLED_BACK, at, "default", "user:owner", "rollback1", None, data
        )
        await house.log.commit(Commit([fact]))
        async with asyncio.timeout(10):
            while await house.memory.outcomes("default", "debugging", "majority") != (0, 1):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("outputs", "outcome", "upheld"),
    [
        ({}, "unknown", None),
        ({"baseline": {"passed": False}}, "unknown", None),
        ({"verify": {"passed": True}}, "proved", None),
        ({"verify": {"passed": False}, "verify_2": {"passed": True}}, "proved", None),
        ({"verify": {"passed": False}}, "not_proved", False),
        ({"verify": {"passed": None}}, "unknown", None),
        ({"verify": {"passed": True}, "approve": {"approved": False}}, "rejected", False),
        ({"verify": {"passed": False}, "verify_2": {"rejected": True}}, "rejected", False),
        (
            {"verify": {"passed": True}, "promote": {"promoted": False, "outcome": "rejected"}},
            "rejected",
            False,
        ),
        ({"verify": {"passed": True}, "promote": {"promoted": True}}, "promoted", True),
        ({"promote": {"promoted": True}, "observe": {"rolled_back": True}}, "rolled_back", False),
    ],
)
def test_the_outcome_is_what_the_steps_have_shown(outputs, outcome, upheld):
    assert outcome_of(outputs) == outcome
    assert upheld_by(outcome) is upheld


def test_what_is_unknown_stays_unknown():
    record = lesson(mission("m1"), {})
    assert (record["approach"], record["evidence"], record["cost"]) == (None, None, None)
    assert record["duration_s"] is None


def test_costs_say_what_they_leave_out():
    calls = [{**CALL}, {"input_tokens": None, "output_tokens": None, "price": None}]
    assert cost_of(calls) == {
        "model_calls": 2,
        "input_tokens": 10,
        "output_tokens": 5,
        "unmeasured": 1,
        "price": "0.25",
        "unpriced": 1,
    }
