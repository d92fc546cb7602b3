"""Where each reaction stands in the log."""

from __future__ import annotations

from quarterdeck.storage.db import Database
from quarterdeck.storage.log import Row

_PUT_PLACE = """INSERT INTO reaction (name, seq) VALUES (?,?)
 ON CONFLICT (name) DO UPDATE SET seq = excluded.seq"""


def place_row(name: str, seq: int) -> Row:
    """The row that says: this reaction has dealt with everything up to `seq`."""
    return Row(_PUT_PLACE, (name,), (name, seq))


async def read_places(db: Database) -> dict[str, int]:
    """The place of every reaction that has one."""
    rows = await db.fetch_all("SELECT name, seq FROM reaction")
    return {row["name"]: int(row["seq"]) for row in rows}
