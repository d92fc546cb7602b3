"""What became of each brief file: one row for each content of each file."""

from __future__ import annotations

from quarterdeck.storage.db import Database
from quarterdeck.storage.log import Row

_PUT = """INSERT INTO brief (path, sha256, state, mission, reason, at) VALUES (?,?,?,?,?,?)
 ON CONFLICT (path, sha256) DO UPDATE SET state = excluded.state, mission = excluded.mission,
 reason = excluded.reason, at = excluded.at"""


def brief_row(
    path: str, sha256: str, state: str, *, mission: str | None, reason: str | None, at: str
) -> Row:
    """The row that says: this content of this file is `detected`, `submitted` or `rejected`."""
    return Row(_PUT, (path, sha256), (path, sha256, state, mission, reason, at))


async def brief_state(db: Database, path: str, sha256: str) -> str | None:
    """What became of this content of this file, or None when it is new."""
    row = await db.fetch_one(
        "SELECT state FROM brief WHERE path = ? AND sha256 = ?", (path, sha256)
    )
    return None if row is None else str(row["state"])
