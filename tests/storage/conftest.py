"""A database of each kind: SQLite in a file, and a real Postgres server started for the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quarterdeck.storage.db import Database


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        db = Database(tmp_path / "journal.db")
        yield db
        db.close()
        return
    import psycopg

    address = request.getfixturevalue("postgres_address")
    with psycopg.connect(address, autocommit=True) as admin:
        admin.execute("DROP SCHEMA public CASCADE")
        admin.execute("CREATE SCHEMA public")
    db = Database(address)
    yield db
    db.close()
