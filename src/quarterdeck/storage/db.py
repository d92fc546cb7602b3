"""The database: connections to SQLite or Postgres, and reads that never block the loop.

Writes go through the log's one writer (`storage/log.py`); this module hands that writer its
connection and offers everybody else reading.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol, cast

from quarterdeck.core.errors import Conflict, InvalidInput, Unavailable
from quarterdeck.storage.dialect import POSTGRES, SQLITE, Dialect

READERS_MAX = 4
BUSY_TIMEOUT_MS = 10_000
CHECKPOINT_FALLBACK_PAGES = 20_000
PAGE_BYTES = 8192
"""Of a new SQLite file; holds a typical event with its outputs two or three times."""

SQLITE_VERSION = sqlite3.sqlite_version
"""Of the library that this Python brings."""
WRITER_LOCK = 0x51_7561_7274_6572
"""The Postgres advisory lock of the one writer: the letters `Quarter`."""

Row = dict[str, Any]


class Cursor(Protocol):
    """The part of DB-API 2.0 (PEP 249) that both drivers share."""

    description: Any

    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """A DB-API 2.0 connection in autocommit mode."""

    def execute(self, sql: str, params: Sequence[Any] = ..., /) -> Cursor: ...

    def close(self) -> None: ...


class Database:
    """One database, named by a path (SQLite) or a `postgresql://` address."""

    def __init__(self, target: Path | str) -> None:
        self._target = target
        self.dialect: Dialect = SQLITE if isinstance(target, Path) else POSTGRES
        if self.dialect is POSTGRES and not str(target).startswith(
            ("postgresql://", "postgres://")
        ):
            raise InvalidInput(
                f"{target!r} is not a database address.",
                where="database",
                hint="Give postgresql://USER@HOST/NAME, or nothing for SQLite.",
            )
        self._idle: SimpleQueue[Connection] = SimpleQueue()
        self._opened: list[Connection] = []
        self._threads = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="reader")

    def connect(self) -> Connection:
        """A new connection in autocommit mode, set up the way the log needs it."""
        if isinstance(self._target, Path):
            return _sqlite(self._target)
        return _postgres(self._target)

    def connect_writer(self) -> Connection:
        """The one connection that writes.

        SQLite is kept to one process by the data directory's lock; Postgres by an advisory lock
        that ends with the connection.

        Raises:
            Conflict: when another process writes to this database.
        """
        connection = self.connect()
        if self.dialect is POSTGRES:
            rows = connection.execute(f"SELECT pg_try_advisory_lock({WRITER_LOCK})").fetchall()
            if not rows[0][0]:
                connection.close()
                raise Conflict("Another Quarterdeck writes to this database.", where="database")
        return connection

    async def fetch_all(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """All rows of a reading statement, as dictionaries by column name."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.fetch_all_now, sql, params)

    async def fetch_one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        """The first row, or None."""
        rows = await self.fetch_all(sql, params)
        return rows[0] if rows else None

    def fetch_all_now(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """`fetch_all` for threads that may block."""
        with self._reader() as connection:
            cursor = connection.execute(self.dialect.query(sql), tuple(params))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def close(self) -> None:
        """Close every reading connection; the log closes its own."""
        self._threads.shutdown(wait=True)
        for connection in self._opened:
            connection.close()
        self._opened.clear()

    @contextmanager
    def _reader(self) -> Iterator[Connection]:
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = self.connect()
            self._opened.append(connection)
        try:
            yield connection
        finally:
            self._idle.put(connection)


def _sqlite(path: Path) -> Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_FALLBACK_PAGES}")
    except sqlite3.Error as error:
        raise Unavailable(f"The database cannot be opened: {error}.", where=str(path)) from None
    return cast(Connection, connection)


def _postgres(address: str) -> Connection:
    try:
        import psycopg  # noqa: PLC0415 - an extra; SQLite installations do not have it
    except ImportError:
        raise Unavailable(
            "The Postgres driver is not installed.",
            where="database",
            hint="Install it with: pip install 'quarterdeck[postgres]'.",
        ) from None
    try:
        return cast(Connection, psycopg.connect(address, autocommit=True))
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise Unavailable(f"The database does not answer: {reason}.", where="database") from None
