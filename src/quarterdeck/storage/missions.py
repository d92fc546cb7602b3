"""Read models of missions, steps and artifacts: their rows, and the questions asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from quarterdeck.core.artifact import Artifact
from quarterdeck.core.mission import Mission
from quarterdeck.core.run import Run, Status, current_step, next_wake, percent, standing, steps_over
from quarterdeck.storage.db import Database, Row
from quarterdeck.storage.log import Row as PutRow
from quarterdeck.storage.log import Statement

TITLE_MAX = 120
PAGE_MAX = 500

_INSERT_MISSION = """INSERT INTO mission (workspace, id, recipe, status, outcome, severity, title,
 spec, created_at, updated_at, percent, steps_done, steps_total, current_step, wake_at, error)
 VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"""
_UPDATE_MISSION = """UPDATE mission SET status = ?, outcome = ?, updated_at = ?, percent = ?,
 steps_done = ?, steps_total = ?, current_step = ?, wake_at = ?, error = ?
 WHERE workspace = ? AND id = ?"""
_BLOCK = "UPDATE mission SET status = ?, error = ? WHERE workspace = ? AND id = ?"
_UPDATE_SPEC = "UPDATE mission SET spec = ? WHERE workspace = ? AND id = ?"
_PUT_STEP = """INSERT INTO step (workspace, mission, id, kind, phase, status, round, attempt,
 interruptions, started_at, ended_at, reason) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
 ON CONFLICT (workspace, mission, id) DO UPDATE SET status = excluded.status,
 round = excluded.round, attempt = excluded.attempt, interruptions = excluded.interruptions,
 started_at = excluded.started_at, ended_at = excluded.ended_at, reason = excluded.reason"""
_PUT_ARTIFACT = """INSERT INTO artifact (workspace, mission, step, name, sha256, media_type, size,
 path, created_at) VALUES (?,?,?,?,?,?,?,?,?)
 ON CONFLICT (workspace, mission, step, name) DO UPDATE SET sha256 = excluded.sha256,
 media_type = excluded.media_type, size = excluded.size, path = excluded.path,
 created_at = excluded.created_at"""


def title_of(brief: str) -> str:
    """The first line of a brief, short enough for a list."""
    line = brief.strip().splitlines()[0].strip()
    return line if len(line) <= TITLE_MAX else line[: TITLE_MAX - 1] + "…"


def new_mission_row(run: Run, spec: Mapping[str, Any]) -> Statement:
    """The row of a mission that must not exist yet; `spec` is its mission as JSON."""
    mission = run.mission
    return _INSERT_MISSION, (
        mission.workspace,
        mission.id,
        mission.recipe,
        standing(run).value,
        None,
        mission.severity.value,
        title_of(mission.brief),
        orjson.dumps(spec),
        mission.created_at,
        run.updated_at,
        0.0,
        0,
        len(run.plan.steps),
        None,
        None,
        None,
    )


def mission_row(run: Run, weights: Mapping[str, float]) -> PutRow:
    """What changes in a mission's row as its steps move."""
    mission = run.mission
    params = (
        standing(run).value,
        run.outcome,
        run.updated_at,
        percent(run, weights),
        steps_over(run),
        len(run.steps),
        current_step(run),
        next_wake(run),
        _storable(run.error),
        mission.workspace,
        mission.id,
    )
    return PutRow(_UPDATE_MISSION, (mission.workspace, mission.id), params)


def spec_row(mission: Mission) -> Statement:
    """The changed brief or constraints of a mission."""
    spec = orjson.dumps(mission.model_dump(mode="json"))
    return _UPDATE_SPEC, (spec, mission.workspace, mission.id)


def blocked_mission(workspace: str, mission_id: str, reason: str) -> Statement:
    """The row of a mission that the engine cannot move, even when its run cannot be made."""
    return _BLOCK, (Status.BLOCKED.value, _storable(reason), workspace, mission_id)


def step_row(run: Run, step_id: str) -> PutRow:
    """The row of one step as it stands in the run."""
    spec, state, mission = run.spec(step_id), run.steps[step_id], run.mission
    params = (
        mission.workspace,
        mission.id,
        step_id,
        spec.kind,
        spec.phase,
        state.status.value,
        state.round,
        state.failures + 1,
        state.interruptions,
        state.started_at,
        state.ended_at,
        _storable(state.reason),
    )
    return PutRow(_PUT_STEP, (mission.workspace, mission.id, step_id), params)


def reset_step_rows(run: Run) -> list[Statement]:
    """The statements that make a mission's step rows what a rewound run says."""
    mission = run.mission
    clear = (
        "DELETE FROM step WHERE workspace = ? AND mission = ?",
        (mission.workspace, mission.id),
    )
    rows = (step_row(run, step_id) for step_id in run.steps)
    return [clear, *((row.sql, row.params) for row in rows)]


def artifact_row(mission: Mission, step: str, artifact: Artifact, at: str) -> PutRow:
    """The row that says which step of which mission produced an artifact."""
    params = (
        mission.workspace,
        mission.id,
        step,
        artifact.name,
        artifact.sha256,
        artifact.media_type,
        artifact.size,
        artifact.path,
        at,
    )
    key = (mission.workspace, mission.id, step, artifact.name)
    return PutRow(_PUT_ARTIFACT, key, params)


def _storable(text: str | None) -> str | None:
    """The text without NUL, which Postgres does not store."""
    return text and text.replace("\x00", "\ufffd")


@dataclass(frozen=True, slots=True)
class MissionFilter:
    """Which missions to list: by status, newest first, before a creation time."""

    statuses: Sequence[str] = ()
    before: str | None = None
    limit: int = 50


class Missions:
    """Questions about missions; each names its workspace (TEN-1)."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, workspace: str, mission_id: str) -> Row | None:
        """One mission's row."""
        row = await self._db.fetch_one(
            "SELECT * FROM mission WHERE workspace = ? AND id = ?", (workspace, mission_id)
        )
        return _decoded(row) if row else None

    async def page(self, workspace: str, wanted: MissionFilter) -> list[Row]:
        """Missions, newest first."""
        conditions, params = ["workspace = ?"], [workspace]
        values: list[Any] = params
        if wanted.statuses:
            conditions.append(f"status IN ({', '.join('?' * len(wanted.statuses))})")
            values.extend(wanted.statuses)
        if wanted.before:
            conditions.append("created_at < ?")
            values.append(wanted.before)
        values.append(min(wanted.limit, PAGE_MAX))
        where = " AND ".join(conditions)
        rows = await self._db.fetch_all(
            f"SELECT * FROM mission WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ?",  # noqa: S608 - conditions are ours
            values,
        )
        return [_decoded(row) for row in rows]

    async def counts(self, workspace: str) -> dict[str, int]:
        """How many missions are in each status."""
        rows = await self._db.fetch_all(
            "SELECT status, count(*) AS n FROM mission WHERE workspace = ? GROUP BY status",
            (workspace,),
        )
        return {row["status"]: row["n"] for row in rows}

    async def unfinished(self) -> list[Row]:
        """Every mission, of every workspace, that may have to move after a start."""
        return await self._db.fetch_all(
            "SELECT workspace, id, status, wake_at FROM mission"
            " WHERE status IN (?,?,?) OR wake_at IS NOT NULL ORDER BY created_at, id",
            ("queued", "running", "blocked"),
        )

    async def steps(self, workspace: str, mission_id: str) -> list[Row]:
        """The rows of a mission's steps."""
        return await self._db.fetch_all(
            "SELECT * FROM step WHERE workspace = ? AND mission = ?", (workspace, mission_id)
        )

    async def waiting_steps(self, workspace: str) -> list[Row]:
        """Every step that waits for a person."""
        return await self._db.fetch_all(
            "SELECT * FROM step WHERE workspace = ? AND status = ?", (workspace, "waiting")
        )

    async def artifacts(self, workspace: str, mission_id: str) -> list[Row]:
        """What a mission produced, oldest first."""
        return await self._db.fetch_all(
            "SELECT step, name, sha256, media_type, size, path, created_at FROM artifact"
            " WHERE workspace = ? AND mission = ? ORDER BY created_at, name",
            (workspace, mission_id),
        )

    async def artifact(self, workspace: str, sha256: str) -> Row | None:
        """The newest use of these bytes in this workspace, or None."""
        return await self._db.fetch_one(
            "SELECT * FROM artifact WHERE workspace = ? AND sha256 = ?"
            " ORDER BY created_at DESC LIMIT 1",
            (workspace, sha256),
        )

    async def learning_paths(self) -> set[str]:
        """Every place of the learning memory that the product itself has written."""
        rows = await self._db.fetch_all("SELECT DISTINCT path FROM artifact WHERE path IS NOT NULL")
        return {row["path"] for row in rows}


def _decoded(row: Row) -> Row:
    return {**row, "spec": orjson.loads(bytes(row["spec"]))}
