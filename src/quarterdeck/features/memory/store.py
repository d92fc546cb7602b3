"""The tables of the learning memory and all of its SQL: sources, chunks, a text index, lessons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from quarterdeck.core.events import Json
from quarterdeck.storage.log import Commit, Log, Statement

_SOURCE = """CREATE TABLE IF NOT EXISTS memory_source (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    mission TEXT,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    stored_at TEXT NOT NULL,
    chunks INTEGER NOT NULL,
    skipped TEXT
)"""
_SOURCE_INDEX = (
    "CREATE INDEX IF NOT EXISTS memory_source_by_path ON memory_source (workspace, path)"
)
_LESSON = """CREATE TABLE IF NOT EXISTS memory_lesson (
    workspace TEXT NOT NULL,
    mission TEXT NOT NULL,
    outcome TEXT NOT NULL,
    upheld INTEGER,
    task_kind TEXT,
    agreement TEXT,
    learned_at TEXT NOT NULL,
    PRIMARY KEY (workspace, mission)
)"""
_CHUNK = """CREATE TABLE IF NOT EXISTS memory_chunk (
    id {serial},
    source TEXT NOT NULL,
    workspace TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    text TEXT NOT NULL,{lexemes}
    UNIQUE (source, ordinal)
)"""
_SQLITE = (
    _SOURCE,
    _SOURCE_INDEX,
    _LESSON,
    _CHUNK.replace("{serial}", "INTEGER PRIMARY KEY").replace("{lexemes}", ""),
    """CREATE VIRTUAL TABLE IF NOT EXISTS memory_fts USING fts5(
        text, content='memory_chunk', content_rowid='id', tokenize='porter unicode61'
    )""",
    """CREATE TRIGGER IF NOT EXISTS memory_chunk_added AFTER INSERT ON memory_chunk BEGIN
        INSERT INTO memory_fts (rowid, text) VALUES (new.id, new.text);
    END""",
    """CREATE TRIGGER IF NOT EXISTS memory_chunk_removed AFTER DELETE ON memory_chunk BEGIN
        INSERT INTO memory_fts (memory_fts, rowid, text) VALUES ('delete', old.id, old.text);
    END""",
)
_POSTGRES = (
    _SOURCE,
    _SOURCE_INDEX,
    _LESSON,
    _CHUNK.replace("{serial}", "BIGSERIAL PRIMARY KEY").replace(
        "{lexemes}",
        " lexemes tsvector GENERATED ALWAYS AS (to_tsvector('english', text)) STORED,",
    ),
    "CREATE INDEX IF NOT EXISTS memory_chunk_lexemes ON memory_chunk USING GIN (lexemes)",
)

_COLUMNS = """s.kind, s.mission, s.path, s.sha256, s.name, s.stored_at, c.ordinal, c.text,
    l.outcome"""
_JOINS = """JOIN memory_source s ON s.id = c.source
    LEFT JOIN memory_lesson l ON l.workspace = s.workspace AND l.mission = s.mission"""
_SEARCH = {
    "sqlite": f"""SELECT {_COLUMNS}, -bm25(memory_fts) AS score,
        snippet(memory_fts, 0, '«', '»', '…', 24) AS snippet
    FROM memory_fts JOIN memory_chunk c ON c.id = memory_fts.rowid {_JOINS}
    WHERE memory_fts MATCH ? AND c.workspace = ?""",  # noqa: S608 - only constants of this file
    "postgres": f"""SELECT {_COLUMNS}, ts_rank_cd(c.lexemes, q.query) AS score,
        ts_headline('english', c.text, q.query,
            'StartSel=«, StopSel=», MaxFragments=1, MaxWords=24, MinWords=8') AS snippet
    FROM (SELECT websearch_to_tsquery('english', ?) AS query) q
    JOIN memory_chunk c ON c.lexemes @@ q.query {_JOINS}
    WHERE c.workspace = ?""",  # noqa: S608 - only constants of this file
}

_FORGET_CHUNKS = """DELETE FROM memory_chunk WHERE source IN (
    SELECT id FROM memory_source WHERE workspace = ? AND path = ? AND id <> ?)"""
_FORGET_SOURCE = "DELETE FROM memory_source WHERE workspace = ? AND path = ? AND id <> ?"
_ADD_SOURCE = """INSERT INTO memory_source
    (id, workspace, mission, path, sha256, name, kind, stored_at, skipped, chunks)
    VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING"""
_ADD_CHUNK = """INSERT INTO memory_chunk (source, workspace, ordinal, text) VALUES (?,?,?,?)
    ON CONFLICT (source, ordinal) DO NOTHING"""
_PUT_LESSON = """INSERT INTO memory_lesson
    (workspace, mission, outcome, upheld, task_kind, agreement, learned_at)
    VALUES (?,?,?,?,?,?,?) ON CONFLICT (workspace, mission) DO UPDATE SET
    outcome = excluded.outcome, upheld = excluded.upheld, task_kind = excluded.task_kind,
    agreement = excluded.agreement, learned_at = excluded.learned_at"""
_OVERTURN = "UPDATE memory_lesson SET outcome = ?, upheld = 0 WHERE workspace = ? AND mission = ?"


def tables(dialect: str) -> tuple[str, ...]:
    """The definitions for `sqlite` or `postgres`; safe to repeat."""
    return {"sqlite": _SQLITE, "postgres": _POSTGRES}[dialect]


@dataclass(frozen=True, slots=True)
class Source:
    """One remembered document; `skipped` says why it has no chunks, when it has none."""

    id: str
    workspace: str
    mission: str | None
    path: str
    sha256: str
    name: str
    kind: str
    stored_at: str
    skipped: str | None = None


class MemoryStore:
    """Reads through the database, writes through the log's one writer."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._db = log.db

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgres`."""
        return self._db.dialect.name

    async def has(self, source_id: str) -> bool:
        """Whether this version of this document is remembered already."""
        found = await self._db.fetch_one("SELECT 1 FROM memory_source WHERE id = ?", [source_id])
        return found is not None

    async def put(self, source: Source, texts: Sequence[str]) -> None:
        """Remember a document in place of what was at its path before; safe to repeat."""
        older = [source.workspace, source.path, source.id]
        script: list[Statement] = [
            (_FORGET_CHUNKS, older),
            (_FORGET_SOURCE, older),
            (_ADD_SOURCE, [*astuple(source), len(texts)]),
        ]
        script += [
            (_ADD_CHUNK, [source.id, source.workspace, ordinal, text])
            for ordinal, text in enumerate(texts)
        ]
        await self._log.commit(Commit(script=script))

    async def search(
        self,
        query: str,
        workspace: str,
        *,
        limit: int,
        kinds: Sequence[str] = (),
        without_mission: str | None = None,
    ) -> list[dict[str, Any]]:
        """Chunks that match a query of this dialect (see `search.queries`), best first."""
        sql, params = _SEARCH[self.dialect], [query, workspace]
        values: list[Any] = [*params]
        if kinds:
            sql += f" AND s.kind IN ({', '.join('?' * len(kinds))})"
            values += kinds
        if without_mission is not None:
            sql += " AND (s.mission IS NULL OR s.mission <> ?)"
            values.append(without_mission)
        values.append(limit)
        return await self._db.fetch_all(f"{sql} ORDER BY score DESC, c.id LIMIT ?", values)

    async def put_lesson(
        self, workspace: str, mission: str, record: dict[str, Json], *, at: str
    ) -> None:
        """Remember how a mission ended; a later word on the same mission replaces it."""
        upheld = record["upheld"]
        values = [
            workspace,
            mission,
            record["outcome"],
            None if upheld is None else int(upheld),
            record["task_kind"],
            record["agreement"],
            at,
        ]
        await self._log.commit(Commit(script=[(_PUT_LESSON, values)]))

    async def overturn(self, workspace: str, mission: str, outcome: str) -> None:
        """The mission's result did not last."""
        await self._log.commit(Commit(script=[(_OVERTURN, [outcome, workspace, mission])]))

    async def upheld(self, workspace: str, task_kind: str, agreement: str) -> tuple[int, int]:
        """How many missions of this kind and agreement lasted, out of how many."""
        row = await self._db.fetch_one(
            "SELECT count(upheld) AS known, sum(upheld) AS upheld FROM memory_lesson"
            " WHERE workspace = ? AND task_kind = ? AND agreement = ?",
            [workspace, task_kind, agreement],
        )
        return (int(row["upheld"] or 0), int(row["known"])) if row else (0, 0)

    async def counts(self, workspace: str) -> dict[str, int]:
        """Remembered documents by kind."""
        rows = await self._db.fetch_all(
            "SELECT kind, count(*) AS n FROM memory_source WHERE workspace = ? GROUP BY kind"
            " ORDER BY kind",
            [workspace],
        )
        return {row["kind"]: int(row["n"]) for row in rows}
