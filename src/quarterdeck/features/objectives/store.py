"""The table of execution records: one row for each objective mission that is over."""

from __future__ import annotations

from typing import Any

import orjson

from quarterdeck.core.events import Json
from quarterdeck.storage.log import Commit, Log

TABLES = (
    """CREATE TABLE IF NOT EXISTS objective_record (
    workspace TEXT NOT NULL,
    mission TEXT NOT NULL,
    status TEXT NOT NULL,
    tool TEXT,
    confidence DOUBLE PRECISION,
    record TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (workspace, mission)
)""",
    """CREATE INDEX IF NOT EXISTS objective_record_by_time
    ON objective_record (workspace, updated_at)""",
)
_PUT = """INSERT INTO objective_record
    (workspace, mission, status, tool, confidence, record, updated_at) VALUES (?,?,?,?,?,?,?)
    ON CONFLICT (workspace, mission) DO UPDATE SET status = excluded.status,
    tool = excluded.tool, confidence = excluded.confidence, record = excluded.record,
    updated_at = excluded.updated_at"""
LIMIT_MAX = 200


class RecordStore:
    """Reads through the database, writes through the log's one writer."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def put(self, workspace: str, mission: str, record: dict[str, Json]) -> None:
        """Keep a mission's record in place of an earlier one; safe to repeat."""
        values = [
            workspace,
            mission,
            record["status"],
            record["tool_used"],
            record["tool_confidence"],
            orjson.dumps(record).decode(),
            record["updated_at"],
        ]
        await self._log.commit(Commit(script=[(_PUT, values)]))

    async def get(self, workspace: str, mission: str) -> dict[str, Json] | None:
        """A mission's record; None until the mission is over."""
        row = await self._log.db.fetch_one(
            "SELECT record FROM objective_record WHERE workspace = ? AND mission = ?",
            [workspace, mission],
        )
        return None if row is None else orjson.loads(row["record"])

    async def newest(
        self, workspace: str, *, before: str | None = None, limit: int = 50
    ) -> list[dict[str, Json]]:
        """Records, the newest first; `before` is the `updated_at` of the last one seen."""
        values: list[Any] = [workspace]
        older = ""
        if before is not None:
            older = " AND updated_at < ?"
            values.append(before)
        values.append(max(1, min(limit, LIMIT_MAX)))
        rows = await self._log.db.fetch_all(
            f"SELECT record FROM objective_record WHERE workspace = ?{older}"  # noqa: S608 - both forms are ours
            " ORDER BY updated_at DESC, mission DESC LIMIT ?",
            values,
        )
        return [orjson.loads(row["record"]) for row in rows]
