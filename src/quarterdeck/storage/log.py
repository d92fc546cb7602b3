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
    after them and before the rows of later commits.
    """

    events: list[Event] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    script: list[Statement] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting:
    """A commit on its way to the disk; one that is `kept` outlasts a disk that refuses it."""

    commit: Commit
    sealed: list[tuple[Any, ...]]
    told: asyncio.Future[int] | None
    kept: bool


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
        self._fresh: list[_Waiting] = []
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

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._closing

    def listen(self, listener: Callable[[list[Recorded]], None]) -> None:
        """Have `listener` called on the loop, after each transaction, with its events."""
        self._listeners.append(listener)

    async def commit(self, commit: Commit) -> int:
        """Make it durable; returns the log's length after it.

        Raises:
            Unavailable: when the disk or database refuses; nothing of the commit is stored then.
            Conflict: when a row that must be new exists already.
        """
        return await self.offer(commit)

    def offer(self, commit: Commit) -> asyncio.Future[int]:
        """`commit` for those who need the future itself."""
        told: asyncio.Future[int] = self._loop.create_future()
        self._admit()
        self._put(commit, told, kept=False)
        return told

    def append(self, commit: Commit) -> None:
        """Make it durable soon, in order with every other commit; nobody waits for it.

        When the disk refuses, it is kept and written later (RUN-6).

        Raises:
            Unavailable: when too much waits for the disk already.
        """
        self._admit()
        self._put(commit, None, kept=True)

    def keep(self, commit: Commit) -> asyncio.Future[int]:
        """Put it in line, whatever the disk says; the future tells when it is durable.

        For what is true already: a disk that refuses delays it, in its place in the order. The
        future fails only when the database refuses what the commit says.

        Raises:
            Unavailable: when the log is closed.
        """
        told: asyncio.Future[int] = self._loop.create_future()
        self._put(commit, told, kept=True)
        return told

    def _admit(self) -> None:
        if len(self._waiting) + len(self._fresh) >= WAITING_MAX:
            raise Unavailable("The disk cannot keep up.", where="log", hint="Try again soon.")

    def _put(self, commit: Commit, told: asyncio.Future[int] | None, *, kept: bool) -> None:
        if self._closing:
            raise Unavailable("The log is closed.", where="log")
        sealed = []
        for event in commit.events:
            body = event.body()
            sealed.append(
                (event.workspace, event.mission, event.type._value_, body, leaf_hash(body))
            )
        if not self._fresh:
            self._loop.call_soon(self._hand_over)
        self._fresh.append(_Waiting(commit, sealed, told, kept))

    def _hand_over(self) -> None:
        """Give the writer all that came in this round of the loop, with one lock and one wake."""
        with self._wake:
            self._waiting.extend(self._fresh)
            self._wake.notify()
        self._fresh = []

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
        self._hand_over()
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
            kept = self._write_batch(batch)
            self._checkpointer.written()
            if kept:
                self._try_later(kept)

    def _try_later(self, kept: list[_Waiting]) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._closing, timeout=RETRY_S)
            self._waiting[:0] = kept
            if self._closing:
                lost = self._waiting.copy()
                self._waiting.clear()
                closed = Unavailable("The log was closed before this was written.", where="log")
                self._on_loop(lambda: _resolve(lost, closed))

    def _write_batch(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Write the commits in one transaction; returns those to be tried again, in order."""
        try:
            refused = self._transaction(batch)
        except Exception as error:  # noqa: BLE001 - the supervising loop of the only writer
            self._rollback()
            return self._fail(batch, error)
        self.degraded = None
        for waiting, error in refused:
            self._fail([waiting], error)
        lost = {id(waiting) for waiting, _ in refused}
        self._tell([waiting for waiting in batch if id(waiting) not in lost])
        return []

    def _transaction(self, batch: list[_Waiting]) -> list[tuple[_Waiting, Exception]]:
        """One transaction with all commits but those that the database refuses, with its reason."""
        refused: list[tuple[_Waiting, Exception]] = []
        self._connection.execute("BEGIN")
        self._connection.execute("SAVEPOINT whole")
        try:
            seq = self._insert(batch, self._last_seq)
        except Exception as error:
            if _is_disk(error):
                raise
            self._connection.execute("ROLLBACK TO SAVEPOINT whole")
            seq, refused = self._one_by_one(batch)
        self._connection.execute("COMMIT")
        self._last_seq = seq
        return refused

    def _one_by_one(self, batch: list[_Waiting]) -> tuple[int, list[tuple[_Waiting, Exception]]]:
        """Leave out what is refused, without an fsync for each of its neighbours."""
        seq = self._last_seq
        refused: list[tuple[_Waiting, Exception]] = []
        for waiting in batch:
            self._connection.execute("SAVEPOINT one")
            try:
                seq = self._insert([waiting], seq)
            except Exception as error:
                if _is_disk(error):
                    raise
                self._connection.execute("ROLLBACK TO SAVEPOINT one")
                refused.append((waiting, error))
            self._connection.execute("RELEASE SAVEPOINT one")
        return seq, refused

    def _insert(self, batch: list[_Waiting], seq: int) -> int:
        """Everything that the commits say, in their order; returns the place of the last event."""
        events: list[tuple[Any, ...]] = []
        for waiting in batch:
            for sealed in waiting.sealed:
                seq += 1
                events.append((seq, *sealed))
        if events:
            self._execute_many(_INSERT_EVENT, events)
        rows: dict[str, dict[tuple[str, ...], Sequence[object]]] = {}
        for waiting in batch:
            for row in waiting.commit.rows:
                rows.setdefault(row.sql, {})[row.key] = row.params
            if waiting.commit.script:
                self._put_rows(rows)
                self._run_script(waiting.commit.script)
        self._put_rows(rows)
        return seq

    def _put_rows(self, rows: dict[str, dict[tuple[str, ...], Sequence[object]]]) -> None:
        for sql, newest in rows.items():
            self._execute_many(sql, newest.values())
        rows.clear()

    def _run_script(self, script: Sequence[Statement]) -> None:
        for sql, params in script:
            self._connection.execute(self.db.dialect.query(sql), tuple(params))

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

    def _fail(self, batch: list[_Waiting], error: Exception) -> list[_Waiting]:
        """Tell those who can take a refusal; returns those that outlast a sick disk."""
        problem = _problem(error)
        kept: list[_Waiting] = []
        if isinstance(problem, Unavailable):
            self.degraded = problem.message
            kept = [waiting for waiting in batch if waiting.kept]
            batch = [waiting for waiting in batch if not waiting.kept]
        for lost in [waiting for waiting in batch if waiting.told is None]:
            names = ", ".join(e.type for e in lost.commit.events)
            self._on_error(f"log: refused {names}: {error}")
        self._on_loop(lambda: _resolve(batch, problem))
        return kept

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
