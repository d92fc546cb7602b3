"""A memory with the artifacts it reads, as a value for these tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from quarterdeck.core.clock import SystemClock, iso
from quarterdeck.core.events import Event, EventType
from quarterdeck.features.memory import Memory
from quarterdeck.features.memory.lesson import upheld_by
from quarterdeck.storage.artifacts import Artifacts
from quarterdeck.storage.log import Log


@dataclass
class Library:
    """A memory, the artifacts it reads and the log below both."""

    memory: Memory
    artifacts: Artifacts
    log: Log

    async def add(
        self,
        path: str,
        content: bytes | dict[str, Any] | str,
        *,
        mission: str = "m1",
        workspace: str = "default",
        media_type: str = "application/json",
    ) -> Event:
        """Store an artifact and have it ingested, as its event would."""
        raw = orjson.dumps(content) if isinstance(content, dict) else content
        raw = raw.encode() if isinstance(raw, str) else raw
        artifact = await self.artifacts.put("a", raw, media_type=media_type)
        data = {**artifact.as_json(), "path": path}
        event = Event(
            EventType.LEARNING_ARTIFACT_STORED,
            iso(SystemClock().now()),
            workspace,
            "agent:x",
            mission,
            "x",
            data,
        )
        await self.memory.ingest(event)
        return event

    async def learnt(self, mission: str, outcome: str, **fields: Any) -> None:
        record = {
            "outcome": outcome,
            "upheld": upheld_by(outcome),
            "task_kind": "code",
            "agreement": "majority",
            **fields,
        }
        await self.memory.learn("default", mission, record)

    async def chunks(self) -> int:
        rows = await self.log.db.fetch_all("SELECT count(*) AS n FROM memory_chunk")
        return int(rows[0]["n"])
