"""Moves SQLite's write-ahead log into the database from a thread of its own.

So that no commit ever pays for it (research: the writer's p95 halves).
"""

from __future__ import annotations

import threading

from quarterdeck.storage.db import Connection, Database

EVERY_BATCHES = 200


class Checkpointer:
    """A background thread that checkpoints after every `EVERY_BATCHES` transactions."""

    def __init__(self, db: Database) -> None:
        self._batches = 0
        self._due = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        if db.dialect.name == "sqlite":
            self._thread = threading.Thread(
                target=self._run, args=(db.connect(),), name="log-checkpoint", daemon=True
            )
            self._thread.start()

    def written(self) -> None:
        """Note one transaction."""
        self._batches += 1
        if self._batches >= EVERY_BATCHES:
            self._batches = 0
            self._due.set()

    def close(self) -> None:
        """Stop the thread."""
        self._closing = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, connection: Connection) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._closing:
                connection.close()
                return
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
