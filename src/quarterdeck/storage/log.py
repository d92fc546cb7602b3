"""The log: every fact in order, written by one thread, many commits in one fsync.

A `Commit` is what must become true together: events, rows of read models, and statements of a
feature's store. Commits that arrive while the disk is busy ride the next transaction together
(natural group commit), and nobody is told before that transaction is on the disk.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from quarterdeck.core.errors import Conflict, QuarterdeckError, Unavailable
from quarterdeck.core.events import Event, Recorded, event_from, leaf_hash
from quarterdeck.storage.checkpoint import Checkpointer
from quarterdeck.storage.db import Connection, Database
from quarterdeck.storage.schema import migrate

BATCH_MAX = 2_000
"""Commits in one transaction at most; bounds memory and the time until the first is told."""
WAITING_MAX = 100_000
"""Commits waiting for the disk at most; beyond it writers are told to come back later."""
RETRY_S = 0.5

_INSERT_EVENT = "INSERT INTO event (seq, workspace, mission, type, body, leaf) VALUES (?,?,?,?,?,?)"

Statement = tuple[str, Sequence[object]]


class Row(NamedTuple):
    """One row of a read model as it stands now: `sql` puts it, `key` says which one it is.

    Of several states of one row in a transaction only the newest is written.
    """

    sql: str
    key: tuple[str, ...]
    params: Sequence[object]


@dataclass(slots=True)
class Commit:
    """What becomes true together.

    `rows` are states of read models, written in bulk; `script` is executed statement by statement,
    in order, after them.
    """

    events: list[Event] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    script: list[Statement] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting:
    commit: Commit
    sealed: list[tuple[Any, ...]]
    told: asyncio.Future[int] | None


class Log:
    """The one writer of a database, and the readers of its events."""

    def __init__(
        self, db: Database, *, tables: Sequence[str] = (), on_error: Callable[[str], None] = print
    ) -> None:
        self.db = db
        self.degraded: str | None = None
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._listeners: list[Callable[[list[Recorded]], None]] = []
        self._waiting: list[_Waiting] = []
        self._wake = threading.Condition()
        self._closing = False
        self._connection: Connection = db.connect_writer()
        migrate(self._connection, db.dialect, tables)
        rows = self._connection.execute("SELECT max(seq) FROM event").fetchall()
        self._last_seq = int(rows[0][0] or 0)
        self._checkpointer = Checkpointer(db)
        self._thread = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def last_seq(self) -> int:
        """The place of the newest durable event; 0 for an empty log."""
        return self._last_seq

    def listen(self, listener: Callable[[list[Recorded]], None]) -> None:
        """Have `listener` called on the loop, after each transaction, with its events."""
        self._listeners.append(listener)

    async def commit(self, commit: Commit) -> int:
        """Make it durable; returns the log's length after it.

        Raises:
            Unavailable: when the disk or database refuses; nothing of the commit is stored then.
            Conflict: when a row that must be new exists already.
        """
        told: asyncio.Future[int] = self._loop.create_future()
        self._put(commit, told)
        return await told

    def append(self, commit: Commit) -> None:
        """Make it durable soon, in order with every other commit; nobody waits for it.

        When the disk refuses, it is kept and written later (RUN-6).
        """
        self._put(commit, None)

    def _put(self, commit: Commit, told: asyncio.Future[int] | None) -> None:
        sealed = []
        for event in commit.events:
            body = event.body()
            sealed.append((event.workspace, event.mission, event.type.value, body, leaf_hash(body)))
        with self._wake:
            if self._closing:
                raise Unavailable("The log is closed.", where="log")
            if len(self._waiting) >= WAITING_MAX:
                raise Unavailable("The disk cannot keep up.", where="log", hint="Try again soon.")
            self._waiting.append(_Waiting(commit, sealed, told))
            self._wake.notify()

    async def read(
        self,
        *,
        after: int = 0,
        workspace: str | None = None,
        mission: str | None = None,
        types: Sequence[str] = (),
        limit: int = 1000,
    ) -> list[Recorded]:
        """Events in order, those with `seq > after`, at most `limit`."""
        sql, params = _select(after, workspace, mission, types, limit)
        rows = await self.db.fetch_all(sql, params)
        return [Recorded(row["seq"], event_from(bytes(row["body"]))) for row in rows]

    async def close(self) -> None:
        """Write what is waiting, then stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)
        self._checkpointer.close()
        self._connection.close()

    def _write(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            if not batch:
                return
            self._write_batch(batch)
            self._checkpointer.written()

    def _write_batch(self, batch: list[_Waiting]) -> None:
        try:
            self._transaction(batch)
        except Exception as error:  # noqa: BLE001 - the supervising loop of the only writer
            self._rollback()
            if len(batch) > 1 and not _is_disk(error):
                for one in batch:
                    self._write_batch([one])
                return
            self._fail(batch, error)
        else:
            self.degraded = None
            self._tell(batch)

    def _transaction(self, batch: list[_Waiting]) -> None:
        execute_many = self._execute_many
        seq = self._last_seq
        events: list[tuple[Any, ...]] = []
        rows: dict[str, dict[tuple[str, ...], Sequence[object]]] = {}
        for waiting in batch:
            for sealed in waiting.sealed:
                seq += 1
                events.append((seq, *sealed))
            for row in waiting.commit.rows:
                rows.setdefault(row.sql, {})[row.key] = row.params
        self._connection.execute("BEGIN")
        if events:
            execute_many(_INSERT_EVENT, events)
        for sql, newest in rows.items():
            execute_many(sql, newest.values())
        for waiting in batch:
            for sql, params in waiting.commit.script:
                self._connection.execute(self.db.dialect.query(sql), tuple(params))
        self._connection.execute("COMMIT")
        self._last_seq = seq

    def _execute_many(self, sql: str, many: Iterable[Sequence[Any]]) -> None:
        connection: Any = self._connection
        cursor = connection.cursor()
        cursor.executemany(self.db.dialect.query(sql), many)
        cursor.close()

    def _rollback(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
        except Exception as error:  # noqa: BLE001 - the transaction may be gone already
            self._on_error(f"log: rollback: {error}")

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        """Tell those who wait; keep what nobody waits for and try it again a little later."""
        problem = _problem(error)
        unavailable = isinstance(problem, Unavailable)
        if unavailable:
            self.degraded = problem.message
        kept = [w for w in batch if w.told is None] if unavailable else []
        for lost in [w for w in batch if w.told is None and not unavailable]:
            names = ", ".join(e.type for e in lost.commit.events)
            self._on_error(f"log: refused {names}: {error}")
        self._on_loop(lambda: _resolve(batch, problem))
        if not kept:
            return
        with self._wake:
            self._waiting[:0] = kept
            self._wake.wait_for(lambda: self._closing, timeout=RETRY_S)
            if self._closing:
                self._waiting.clear()

    def _tell(self, batch: list[_Waiting]) -> None:
        last = self._last_seq
        first = last - sum(len(w.sealed) for w in batch)
        listeners = tuple(self._listeners)

        def tell() -> None:
            for waiting in batch:
                if waiting.told is not None and not waiting.told.done():
                    waiting.told.set_result(last)
            if listeners and last > first:
                events = (event for waiting in batch for event in waiting.commit.events)
                recorded = [Recorded(seq, event) for seq, event in enumerate(events, first + 1)]
                for listener in listeners:
                    listener(recorded)

        self._on_loop(tell)

    def _on_loop(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)


def _resolve(batch: list[_Waiting], problem: QuarterdeckError) -> None:
    for waiting in batch:
        if waiting.told is not None and not waiting.told.done():
            waiting.told.set_exception(problem)


def _is_disk(error: Exception) -> bool:
    return type(error).__name__ in {"OperationalError", "InterfaceError", "AdminShutdown"}


def _problem(error: Exception) -> QuarterdeckError:
    if type(error).__name__ in {"IntegrityError", "UniqueViolation"}:
        return Conflict(f"It exists already ({error}).", where="log")
    if _is_disk(error):
        return Unavailable(f"The log cannot be written: {error}.", where="log")
    return QuarterdeckError(f"The log refused a statement: {error}.", where="log")


def _select(
    after: int, workspace: str | None, mission: str | None, types: Sequence[str], limit: int
) -> tuple[str, list[Any]]:
    conditions, params = ["seq > ?"], [after]
    values: list[Any] = params
    for column, value in (("workspace", workspace), ("mission", mission)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if types:
        conditions.append(f"type IN ({', '.join('?' * len(types))})")
        values.extend(types)
    values.append(limit)
    where = " AND ".join(conditions)
    return f"SELECT seq, body FROM event WHERE {where} ORDER BY seq LIMIT ?", values  # noqa: S608 - columns are ours
