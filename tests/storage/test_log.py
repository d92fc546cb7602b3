"""The log on SQLite and on Postgres."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quarterdeck.core.errors import Conflict, QuarterdeckError, Unavailable
from quarterdeck.core.events import Event, EventType, leaf_hash
from quarterdeck.storage.db import Database
from quarterdeck.storage.log import Commit, Log, Row


def event(n: int, mission: str = "m1", workspace: str = "default") -> Event:
    data = {"n": n}
    return Event(
        EventType.STEP_PROGRESSED,
        "2026-01-01T00:00:00.000Z",
        workspace,
        "system",
        mission,
        "s",
        data,
    )


@asynccontextmanager
async def open_log(db: Database, **options):
    log = Log(db, on_error=lambda line: None, **options)
    try:
        yield log
    finally:
        await log.close()


async def test_events_come_back_in_order_with_their_exact_bytes_sealed(database):
    async with open_log(database) as log:
        for n in range(3):
            await log.commit(Commit([event(n)]))
        found = await log.read(mission="m1")
        rows = await database.fetch_all("SELECT seq, body, leaf FROM event ORDER BY seq")
    assert [(r.seq, r.event.data["n"]) for r in found] == [(1, 0), (2, 1), (3, 2)]
    assert all(leaf_hash(bytes(row["body"])) == bytes(row["leaf"]) for row in rows)


async def test_the_numbering_goes_on_after_a_restart(database):
    async with open_log(database) as log:
        await log.commit(Commit([event(0)]))
    async with open_log(database) as log:
        assert log.last_seq == 1
        assert await log.commit(Commit([event(1)])) == 2


async def test_reading_is_bounded_to_a_workspace_a_mission_and_types(database):
    async with open_log(database) as log:
        await log.commit(Commit([event(1, "a"), event(2, "b"), event(3, "a", "other")]))
        mine = await log.read(workspace="default", mission="a")
        none = await log.read(types=["mission.submitted"])
        late = await log.read(after=2)
    assert [r.event.data["n"] for r in mine] == [1]
    assert none == []
    assert [r.event.data["n"] for r in late] == [3]


async def test_a_refused_commit_leaves_nothing_and_its_neighbours_are_written(database):
    tables = ("CREATE TABLE IF NOT EXISTS thing (id TEXT PRIMARY KEY)",)
    insert = ("INSERT INTO thing VALUES (?)", ("x",))
    async with open_log(database, tables=tables) as log:
        results = await asyncio.gather(
            *(log.commit(Commit([event(n)], script=[insert])) for n in range(3)),
            log.commit(Commit([event(9)])),
            return_exceptions=True,
        )
        found = await log.read()
    assert [isinstance(r, Conflict) for r in results] == [False, True, True, False]
    assert [r.event.data["n"] for r in found] == [0, 9]


async def test_many_refusals_cost_no_fsync_each(database):
    tables = ("CREATE TABLE IF NOT EXISTS thing (id TEXT PRIMARY KEY)",)
    insert = ("INSERT INTO thing VALUES (?)", ("x",))
    async with open_log(database, tables=tables) as log:
        transactions = []
        transaction = log._transaction
        log._transaction = lambda batch: transactions.append(1) or transaction(batch)
        results = await asyncio.gather(
            *(log.commit(Commit([event(n)], script=[insert])) for n in range(100)),
            return_exceptions=True,
        )
        found = await log.read()
    assert sum(isinstance(result, Conflict) for result in results) == 99
    assert [(r.seq, r.event.data["n"]) for r in found] == [(1, 0)]
    assert len(transactions) <= 3


async def test_what_is_kept_is_written_in_its_place_after_the_disk_comes_back(tmp_path):
    db = Database(tmp_path / "journal.db")
    async with open_log(db) as log:
        await log.commit(Commit([event(0)]))
        blocker = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        log._connection.execute("PRAGMA busy_timeout = 1")
        blocker.execute("BEGIN IMMEDIATE")
        told = [log.keep(Commit([event(n)])) for n in (1, 2)]
        while log.degraded is None:
            await asyncio.sleep(0.01)
        told.append(log.keep(Commit([event(3)])))
        log.append(Commit([event(4)]))
        assert not any(one.done() for one in told)
        blocker.execute("ROLLBACK")
        blocker.close()
        await asyncio.gather(*told)
        await log.commit(Commit())
        assert [r.event.data["n"] for r in await log.read()] == [0, 1, 2, 3, 4]
    db.close()


async def test_a_script_comes_after_the_rows_before_it_and_before_those_after_it(database):
    tables = ("CREATE TABLE IF NOT EXISTS state (id TEXT PRIMARY KEY, n INTEGER)",)
    put = "INSERT INTO state VALUES (?,?) ON CONFLICT (id) DO UPDATE SET n = excluded.n"
    async with open_log(database, tables=tables) as log:
        log.append(Commit(rows=[Row(put, ("a",), ("a", 1))]))
        log.append(Commit(script=[("UPDATE state SET n = n + 10", ())]))
        log.append(Commit(rows=[Row(put, ("b",), ("b", 5))]))
        await log.commit(Commit())
        rows = await database.fetch_all("SELECT id, n FROM state ORDER BY id")
    assert rows == [{"id": "a", "n": 11}, {"id": "b", "n": 5}]


async def test_a_broken_statement_is_an_error_of_its_own_commit_only(database):
    async with open_log(database) as log:
        bad = log.commit(Commit(script=[("INSERT INTO nowhere VALUES (?)", (1,))]))
        with pytest.raises(QuarterdeckError):
            await bad
        assert await log.commit(Commit([event(1)])) == 1


async def test_of_several_states_of_a_row_the_newest_is_written(database):
    tables = ("CREATE TABLE IF NOT EXISTS state (id TEXT PRIMARY KEY, n INTEGER)",)
    put = "INSERT INTO state VALUES (?,?) ON CONFLICT (id) DO UPDATE SET n = excluded.n"
    async with open_log(database, tables=tables) as log:
        for n in range(50):
            log.append(Commit(rows=[Row(put, ("a",), ("a", n))]))
        await log.commit(Commit([event(1)]))
        row = await database.fetch_one("SELECT n FROM state")
    assert row == {"n": 49}


async def test_listeners_hear_of_durable_events_in_order(database):
    heard: list[int] = []
    async with open_log(database) as log:
        log.listen(lambda recorded: heard.extend(r.seq for r in recorded))
        await asyncio.gather(*(log.commit(Commit([event(n)])) for n in range(20)))
    assert heard == list(range(1, 21))


@pytest.mark.slow
async def test_a_second_writer_is_refused_by_postgres(request):
    db = Database(request.getfixturevalue("postgres_address"))
    async with open_log(db):
        other = Database(request.getfixturevalue("postgres_address"))
        with pytest.raises(Conflict, match="Another Quarterdeck"):
            Log(other)
        other.close()
    db.close()


async def test_a_full_disk_refuses_who_waits_and_keeps_what_nobody_waits_for(tmp_path):
    db = Database(tmp_path / "journal.db")
    async with open_log(db) as log:
        await log.commit(Commit([event(0)]))
        blocker = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        log._connection.execute("PRAGMA busy_timeout = 1")
        blocker.execute("BEGIN IMMEDIATE")
        log.append(Commit([event(1)]))
        with pytest.raises(Unavailable, match="cannot be written"):
            await log.commit(Commit([event(2)]))
        assert log.degraded is not None
        blocker.execute("ROLLBACK")
        blocker.close()
        await asyncio.sleep(0.8)
        assert log.degraded is None
        assert [r.event.data["n"] for r in await log.read()] == [0, 1]
    db.close()


_WRITER = """
import asyncio, sys
from pathlib import Path
from quarterdeck.core.events import Event, EventType
from quarterdeck.storage.db import Database
from quarterdeck.storage.log import Commit, Log

async def main():
    log = Log(Database(Path(sys.argv[1])))
    async def one(i):
        n = 0
        while True:
            data = {"i": i, "n": n}
            e = Event(EventType.STEP_PROGRESSED, "t", "w", "a", f"m{i}", "s", data)
            await log.commit(Commit([e]))
            sys.stdout.write(f"{i} {n}\\n"); sys.stdout.flush()
            n += 1
    await asyncio.gather(*(one(i) for i in range(20)))
asyncio.run(main())
"""


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_by_kill_nine(tmp_path: Path):
    for round_no in range(4):
        path = tmp_path / f"{round_no}.db"
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _WRITER, str(path), stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        first = await writer.stdout.readline()
        await asyncio.sleep(0.4 + 0.13 * round_no)
        os.kill(writer.pid, signal.SIGKILL)
        rest, _ = await writer.communicate()
        said = (first + rest).decode()
        acknowledged = {tuple(line.split()) for line in said.split("\n")[:-1]}
        db = Database(path)
        rows = await db.fetch_all("SELECT seq FROM event ORDER BY seq")
        async with open_log(db) as log:
            stored = {
                (str(r.event.data["i"]), str(r.event.data["n"]))
                for r in await log.read(limit=1_000_000)
            }
        db.close()
        assert len(acknowledged) > 20
        assert acknowledged <= stored
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
