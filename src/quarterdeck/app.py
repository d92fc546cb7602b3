"""Wires everything: the one place that knows every part of the product (ORC-15, CTL-11)."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from quarterdeck import __version__
from quarterdeck.confine import probe
from quarterdeck.core.events import Json
from quarterdeck.core.ids import OWNER, check_id
from quarterdeck.core.run import Run
from quarterdeck.core.validated import validated
from quarterdeck.engine.answers import answer, awaited
from quarterdeck.engine.context import Resources
from quarterdeck.engine.engine import Engine, Key
from quarterdeck.engine.inbox import Inbox
from quarterdeck.engine.reactions import Reactions
from quarterdeck.engine.recipes import shipped_recipes
from quarterdeck.engine.submit import Submission, submit
from quarterdeck.feature import Feature
from quarterdeck.features import coding, governance, memory, mentors, notify, objectives
from quarterdeck.features.coding import Coding, CodingSettings
from quarterdeck.features.memory import Memory
from quarterdeck.features.mentors import Mentors, MentorSettings
from quarterdeck.features.objectives import Objectives, ObjectiveSettings
from quarterdeck.llm.configured import providers_for
from quarterdeck.llm.discovery import Installed, discover
from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import ModelRef, Usage
from quarterdeck.llm.providers.settings import ProviderSettings
from quarterdeck.server import documented
from quarterdeck.server.asgi import create_app
from quarterdeck.server.deps import Desk
from quarterdeck.server.promotion import promotion_record
from quarterdeck.server.streams import Streams
from quarterdeck.settings import Settings, load_settings
from quarterdeck.storage.artifacts import remove_drafts, write_durably
from quarterdeck.storage.bus import Bus
from quarterdeck.storage.chunks import TABLES as CHUNK_TABLES
from quarterdeck.storage.chunks import ChunkLog
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log

FEATURES: tuple[Feature, ...] = (
    governance.feature,
    mentors.feature,
    coding.feature,
    memory.feature,
    notify.feature,
    objectives.feature,
)


def report(line: str) -> None:
    """Where the product says what went wrong behind the scenes."""
    print(line, file=sys.stderr)  # noqa: T201 - the server's own log is its standard error


class Orchestrator:
    """One running installation; `activate` starts it and `close` stops it.

    `report` is told what went wrong behind the scenes, line by line.
    """

    def __init__(
        self, settings: Settings | None = None, *, report: Callable[[str], None] = report
    ) -> None:
        self.report = report
        self.settings = settings or load_settings()
        self.directory = DataDirectory(self.settings.data_dir)
        self._active = False

    async def activate(self) -> dict[str, Json]:
        """Start every part in order, take up unfinished missions, and say what was found.

        Raises:
            Conflict: when another process uses the data directory.
            Unavailable: when it cannot be used, or the database does not answer.
        """
        if self._active:
            return {"resumed": 0, "armed": 0}
        self.directory.create()
        self.directory.lock()
        try:
            return await self._activate()
        except BaseException:
            self.directory.unlock()
            raise

    async def _activate(self) -> dict[str, Json]:
        settings, directory = self.settings, self.directory
        self.token = _own_token(directory.token)
        db = Database(settings.database or directory.journal)
        tables = [table for feature in _features(db) for table in feature.tables]
        self.log = Log(db, tables=[*CHUNK_TABLES, *tables], on_error=self.report)
        self.bus = Bus(self.log)
        self.recipes = shipped_recipes()
        self.gateway = Gateway(providers_for(self._providers()), on_usage=_unattributed)
        self.resources = Resources()
        kinds = [kind for feature in _features(db) for kind in feature.steps]
        self.engine = Engine(
            self.log, directory, kinds, resources=self.resources, report=self.report
        )
        kept = ChunkLog(self.log, clock=self.engine.clock, report=self.report)
        self.streams = Streams(self.log, kept, report=self.report)
        self.resources.add(self.streams)
        self.resources.on_stream = self.streams.say
        self.memory = Memory(self.log, self.engine.artifacts, self.engine.clock)
        self.coding = Coding(
            directory, self.log, self.gateway, self.installed_models, self._coding_settings()
        )
        self.resources.add(self._mentors(), self.memory, self.coding)
        self.resources.add(Objectives(self.engine, self._objective_settings()))
        reactions = tuple(r for feature in _features(db) for r in feature.reactions)
        self.reactions = Reactions(
            self.log, reactions, resources=self.resources, report=self.report
        )
        self.inbox = Inbox(
            self.engine,
            self.recipes,
            directory.learning,
            workspace=settings.workspace,
            report=self.report,
        )
        began_s = self.engine.clock.now().timestamp()
        self._tidying = asyncio.ensure_future(
            asyncio.to_thread(remove_drafts, directory, before_s=began_s)
        )
        await self.coding.start()
        self.streams.start()
        started = await self.engine.start()
        await self.reactions.start()
        await self.inbox.start()
        self._active = True
        return {"version": __version__, "data": str(directory.root), **started}

    async def close(self) -> None:
        """Stop in reverse order; what was running resumes at the next start."""
        if not self._active:
            return
        self._active = False
        await self._tidying
        await self.inbox.stop()
        await self.engine.stop()
        await self.reactions.stop()
        await self.gateway.aclose()
        await self.streams.close()
        await self.log.close()
        self.log.db.close()
        self.directory.unlock()

    async def execute_mission(
        self,
        *,
        brief: str,
        mission_id: str | None = None,
        constraints: Mapping[str, Any] | None = None,
        auto_implement: bool = False,
        **more: Any,
    ) -> dict[str, Json]:
        """Submit a mission and work on it until it is over or waits for a person (ORC-15).

        `more` are the other fields of a submission (repository, implementer, …). The answer is
        the documented one, with the mission's own outputs beside it.
        """
        await self.activate()
        given = validated(
            Submission,
            {
                "brief": brief,
                "mission_id": mission_id,
                "constraints": dict(constraints or {}),
                "auto_implement": auto_implement,
                **more,
            },
        )
        run = await submit(
            self.engine, self.recipes, given, workspace=self.settings.workspace, actor=OWNER
        )
        run = await self.engine.idle((run.mission.workspace, run.mission.id))
        return self._result(run)

    async def promote_sandbox(self, mission_id: str) -> dict[str, Json]:
        """Approve the promotion of a proved mission; returns the promotion record (ORC-11).

        Raises:
            NotFound, Conflict, Refused: nothing was changed then.
        """
        await self.activate()
        key = self._key(mission_id)
        record = promotion_record(await self.engine.run(key))
        if record is not None:
            return record
        await answer(self.engine, key, ("promote",), actor=OWNER)
        run = await self.engine.idle(key)
        record = promotion_record(run)
        if record is None:
            raise documented.not_promoted(run)
        return record

    async def answer_mission(self, mission_id: str, choice: str, **data: Json) -> dict[str, Json]:
        """Answer what a mission waits for and go on until it rests again."""
        await self.activate()
        key = self._key(mission_id)
        await answer(self.engine, key, (choice,), actor=OWNER, data=data)
        return self._result(await self.engine.idle(key))

    async def installed_models(self) -> list[ModelRef]:
        """The models that can be asked now."""
        return [found.ref for found in (await self.discovered()).models]

    async def discovered(self) -> Installed:
        """The running model servers and their models, and why others do not answer."""
        return await discover(self._providers())

    async def health(self) -> dict[str, Json]:
        """The parts as measured now."""
        confinement = await asyncio.to_thread(probe)
        counts = await self.engine.missions.counts(self.settings.workspace)
        return {
            "version": __version__,
            "missions": counts,
            "log": {"events": self.log.last_seq, "degraded": self.log.degraded},
            "confinement": asdict(confinement),
            "data": str(self.directory.root),
        }

    def asgi(self) -> FastAPI:
        """The HTTP application of this installation; it must be active."""
        desk = Desk(
            engine=self.engine,
            recipes=self.recipes,
            resources=self.resources,
            bus=self.bus,
            workspace=self.settings.workspace,
            token=self.token,
            health=self.health,
            models=self._models,
        )
        routers = [feature.routes for feature in FEATURES if feature.routes is not None]
        return create_app(desk, routers, report=self.report)

    async def _models(self) -> dict[str, Json]:
        found = await self.discovered()
        return {
            "models": [
                {
                    "model": str(one.ref),
                    "local": one.local,
                    "demonstration": one.demonstration,
                    "embedding": one.embedding,
                }
                for one in found.models
            ],
            "servers": [asdict(server) for server in found.servers],
        }

    def _key(self, mission_id: str) -> Key:
        return self.settings.workspace, check_id(mission_id, where="mission_id")

    def _result(self, run: Run) -> dict[str, Json]:
        return {
            "status": documented.status_word(run),
            "mission_id": run.mission.id,
            "execution_result": documented.execution_result(run),
            "outcome": run.outcome,
            "error": run.error,
            "awaiting": awaited(run),
            "outputs": {step: dict(outputs) for step, outputs in run.outputs().items()},
        }

    def _providers(self) -> list[ProviderSettings]:
        return [
            ProviderSettings(
                name=server.name,
                kind=server.kind,
                base_url=server.base_url,
                api_key=os.environ.get(server.api_key_env) if server.api_key_env else None,
                own=server.own,
                concurrency=server.concurrency,
                host_rate=server.host_rate,
                models_dir=self.directory.models if server.kind == "bundled" else None,
            )
            for server in self.settings.model_servers
        ]

    def _coding_settings(self) -> CodingSettings:
        given = self.settings.coding
        return CodingSettings(
            rounds_max=given.rounds_max,
            implement_budget_s=given.implement_budget_s,
            agent_model=ModelRef.parse(given.agent_model) if given.agent_model else None,
            cloud_allowed=given.cloud_allowed,
            allow_weak=given.allow_weak_confinement,
            readable=given.readable_paths,
            model_ports=frozenset(given.agent_ports),
        )

    def _objective_settings(self) -> ObjectiveSettings:
        return ObjectiveSettings(**self.settings.objectives.model_dump(exclude_none=True))

    def _mentors(self) -> Mentors:
        given = self.settings.mentors.model_dump(exclude_none=True)
        settings = MentorSettings(**given)
        outcomes = self.memory.outcomes
        return Mentors(self.gateway, self.installed_models, settings, outcomes=outcomes)


def _features(db: Database) -> tuple[Feature, ...]:
    """The features, with the tables of this database."""
    return tuple(
        memory.feature_for(db.dialect.name) if feature.name == "memory" else feature
        for feature in FEATURES
    )


def _unattributed(usage: Usage) -> None:
    report(f"model call outside of a mission: {usage.model}")


def _own_token(file: Path) -> str:
    """The installation's token, made at the first start and readable by its owner alone."""
    try:
        return file.read_text("ascii").strip()
    except FileNotFoundError:
        token = secrets.token_urlsafe(32)
        write_durably(file, token.encode())
        return token


_orchestrators: dict[Path, Orchestrator] = {}


def get_mission_orchestrator(settings: Settings | None = None) -> Orchestrator:
    """The orchestrator of an installation, one for each data directory in a process (ORC-15)."""
    chosen = settings or load_settings()
    return _orchestrators.setdefault(chosen.data_dir, Orchestrator(chosen))


__all__ = ["FEATURES", "Orchestrator", "get_mission_orchestrator"]
