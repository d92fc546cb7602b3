"""A real engine, a real log and scripted model servers over HTTP, as values for these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from quarterdeck.core.clock import SystemClock, iso
from quarterdeck.core.events import Event
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Plan, StepSpec
from quarterdeck.core.run import Run
from quarterdeck.core.step import Done, Effect, StepKind
from quarterdeck.engine.context import Resources, StepContext
from quarterdeck.engine.engine import Engine
from quarterdeck.features.mentors import STEPS, Mentors, MentorSettings
from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import ModelRef
from quarterdeck.llm.providers.openai_compatible import OpenAICompatible
from quarterdeck.llm.providers.settings import ProviderSettings
from quarterdeck.llm.scripted import ScriptedServer
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log

ROUND = ("define", "consult", "agree", "plan")


def opinion(*approaches: tuple[str, str], **fields: Any) -> dict[str, Any]:
    """The JSON of an opinion with these (kind, text) approaches, best first."""
    given: dict[str, Any] = {
        "root_cause": {"kind": "logic", "text": "The comparison is off by one."},
        "approaches": [{"kind": kind, "text": text} for kind, text in approaches],
        "risk": "low",
        "files": ["src/range.py"],
        "tests": ["test_upper_bound"],
        "abstain": False,
    }
    return given | fields


@dataclass
class Finished:
    """A mission that ran, with its events and the files it left."""

    run: Run
    events: list[Event]
    learning: Path

    def outputs(self, step: str) -> Mapping[str, Any]:
        return self.run.outputs()[step]

    def file(self, path: str) -> Any:
        return orjson.loads((self.learning / path).read_bytes())


def provider(name: str, url: str, **fields: Any) -> OpenAICompatible:
    kind = fields.pop("kind", "ollama")
    settings = ProviderSettings(name=name, kind=kind, base_url=url, **fields)
    return OpenAICompatible(settings)


def asking(
    providers: Sequence[OpenAICompatible], models: Sequence[str], settings: MentorSettings
) -> tuple[Gateway, Mentors]:
    gateway = Gateway(providers, on_usage=lambda usage: None)

    async def installed() -> list[ModelRef]:
        return [ModelRef.parse(model) for model in models]

    return gateway, Mentors(gateway, installed, settings)


def given(outputs: Mapping[str, Mapping[str, Any]]) -> list[StepKind[StepContext]]:
    """Step kinds that stand for other features: each gives these outputs."""

    def kind(name: str, output: Mapping[str, Any]) -> StepKind[StepContext]:
        async def run(ctx: StepContext) -> Done:
            return Done(output)

        return StepKind(name, run, Effect.PURE)

    return [kind(name, output) for name, output in outputs.items()]


async def finished(
    root: Path,
    mentors: Mentors,
    steps: Sequence[str] = ROUND,
    *,
    before: Mapping[str, Mapping[str, Any]] | None = None,
    **mission: Any,
) -> Finished:
    """Run the steps one after another, after those in `before`, on a real engine."""
    others = given(before or {})
    order = [*(kind.name for kind in others), *steps]
    plan = Plan(
        recipe="test",
        steps=tuple(
            StepSpec(id=name, kind=name, needs=tuple(order[max(0, i - 1) : i]))
            for i, name in enumerate(order)
        ),
    )
    asked = Mission(
        id="m1",
        workspace="default",
        created_by="user:owner",
        created_at=iso(SystemClock().now()),
        **{"brief": "Fix the failing range test", **mission},
    )
    async with engine_at(root, [*STEPS, *others], Resources(mentors)) as engine:
        await engine.submit(asked, plan)
        run = await engine.ended(("default", "m1"))
        events = [recorded.event for recorded in await engine.events(("default", "m1"))]
    return Finished(run, events, DataDirectory(root).learning)


@asynccontextmanager
async def engine_at(
    root: Path, kinds: Sequence[StepKind[StepContext]], resources: Resources
) -> AsyncIterator[Engine]:
    directory = DataDirectory(root)
    directory.create()
    db = Database(directory.journal)
    log = Log(db)
    engine = Engine(log, directory, kinds, resources=resources, report=lambda line: None)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
        await log.close()
        db.close()


@asynccontextmanager
async def roundtable(
    rules: Sequence[Mapping[str, Any]], models: Sequence[str], settings: MentorSettings
) -> AsyncIterator[tuple[ScriptedServer, Mentors]]:
    """Models on one scripted Ollama, called `ollama/NAME`."""
    async with ScriptedServer({"models": list(models), "rules": list(rules)}) as server:
        names = [f"ollama/{model}" for model in models]
        gateway, mentors = asking([provider("ollama", server.url)], names, settings)
        try:
            yield server, mentors
        finally:
            await gateway.aclose()
