"""A learning memory on SQLite, and on a real Postgres server where a test is marked slow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.core.clock import SystemClock
from quarterdeck.features.memory import Memory, tables
from quarterdeck.storage.artifacts import Artifacts
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log
from tests.features.memory.building import Library


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def library(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Library]:
    directory = DataDirectory(tmp_path)
    directory.create()
    target: Path | str = directory.journal
    if request.param == "postgres":
        import psycopg

        target = request.getfixturevalue("postgres_address")
        with psycopg.connect(target, autocommit=True) as admin:
            admin.execute("DROP SCHEMA public CASCADE")
            admin.execute("CREATE SCHEMA public")
    db = Database(target)
    log = Log(db, tables=tables(db.dialect.name))
    artifacts = Artifacts(directory)
    yield Library(Memory(log, artifacts, SystemClock()), artifacts, log)
    await log.close()
    db.close()
