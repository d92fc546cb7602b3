"""The tables of the log and its read models, and the way from one version to the next."""

from __future__ import annotations

from collections.abc import Sequence

from quarterdeck.core.errors import Unavailable
from quarterdeck.storage.db import Connection
from quarterdeck.storage.dialect import Dialect

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE event (
            seq {bigkey} PRIMARY KEY,
            workspace TEXT NOT NULL,
            mission TEXT,
            type TEXT NOT NULL,
            body {blob} NOT NULL,
            leaf {blob} NOT NULL
        )""",
        "CREATE INDEX event_by_mission ON event (workspace, mission, seq)",
        """CREATE TABLE mission (
            workspace TEXT NOT NULL,
            id TEXT NOT NULL,
            recipe TEXT NOT NULL,
            status TEXT NOT NULL,
            outcome TEXT,
            severity TEXT NOT NULL,
            title TEXT NOT NULL,
            spec {blob} NOT NULL,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL,
            percent DOUBLE PRECISION NOT NULL,
            steps_done INTEGER NOT NULL,
            steps_total INTEGER NOT NULL,
            current_step TEXT,
            wake_at TEXT,
            error TEXT,
            PRIMARY KEY (workspace, id)
        )""",
        "CREATE INDEX mission_by_status ON mission (workspace, status, created_at)",
        """CREATE TABLE step (
            workspace TEXT NOT NULL,
            mission TEXT NOT NULL,
            id TEXT NOT NULL,
            kind TEXT NOT NULL,
            phase TEXT,
            status TEXT NOT NULL,
            round INTEGER NOT NULL,
            attempt INTEGER NOT NULL,
            interruptions INTEGER NOT NULL,
            started_at TEXT,
            ended_at TEXT,
            reason TEXT,
            PRIMARY KEY (workspace, mission, id)
        ) {clustered}""",
        """CREATE TABLE artifact (
            workspace TEXT NOT NULL,
            mission TEXT NOT NULL,
            step TEXT NOT NULL,
            name TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            media_type TEXT NOT NULL,
            size BIGINT NOT NULL,
            path TEXT,
            created_at TEXT NOT NULL,
            PRIMARY KEY (workspace, mission, step, name)
        ) {clustered}""",
        "CREATE INDEX artifact_by_path ON artifact (path)",
        """CREATE TABLE brief (
            path TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            state TEXT NOT NULL,
            mission TEXT,
            reason TEXT,
            at TEXT NOT NULL,
            PRIMARY KEY (path, sha256)
        )""",
        "CREATE TABLE reaction (name TEXT PRIMARY KEY, seq BIGINT NOT NULL)",
    ),
)
"""One tuple of statements per schema version, in order; a published one is never edited."""


def migrate(connection: Connection, dialect: Dialect, extra: Sequence[str] = ()) -> None:
    """Bring the database to the newest version; `extra` are the features' own tables.

    Each version is one transaction. Extra statements must be safe to repeat
    (`CREATE TABLE IF NOT EXISTS`).

    Raises:
        Unavailable: when the database was written by a newer product.
    """
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
    rows = connection.execute("SELECT max(version) FROM schema_version").fetchall()
    current = int(rows[0][0] or 0)
    if current > len(MIGRATIONS):
        raise Unavailable(
            f"The database has schema version {current}; this build knows {len(MIGRATIONS)}.",
            where="database",
            hint="Install the newer Quarterdeck that wrote it.",
        )
    for version, statements in enumerate(MIGRATIONS[current:], start=current + 1):
        connection.execute("BEGIN")
        for statement in statements:
            connection.execute(dialect.table(statement))
        connection.execute(dialect.query("INSERT INTO schema_version VALUES (?)"), (version,))
        connection.execute("COMMIT")
    for statement in extra:
        connection.execute(dialect.table(statement))
