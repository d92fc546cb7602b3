"""What differs between SQLite and Postgres, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one database spells what the other spells differently.

    SQL is written once with `?` for parameters, `{blob}` for the type of bytes, `{bigkey}` for that
    of a 64-bit number by which a table is stored, and `{clustered}` behind a table that is stored
    in the order of its primary key. There is no `?` or `{` in any literal of ours.
    """

    name: str
    placeholder: str
    blob: str
    clustered: str
    bigkey: str

    def query(self, sql: str) -> str:
        """The statement as this database wants it."""
        return _query(sql, self.placeholder)

    def table(self, ddl: str) -> str:
        """The definition as this database wants it."""
        return (
            ddl.replace("{blob}", self.blob)
            .replace("{clustered}", self.clustered)
            .replace("{bigkey}", self.bigkey)
        )


@lru_cache(maxsize=1024)
def _query(sql: str, placeholder: str) -> str:
    return sql if placeholder == "?" else sql.replace("?", placeholder)


SQLITE = Dialect(
    name="sqlite", placeholder="?", blob="BLOB", clustered="WITHOUT ROWID", bigkey="INTEGER"
)
POSTGRES = Dialect(name="postgres", placeholder="%s", blob="BYTEA", clustered="", bigkey="BIGINT")
