"""Finds remembered text by words: every word first, any word as a fallback, and says why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from quarterdeck.core.events import Json
from quarterdeck.features.memory.store import MemoryStore

TERMS_MAX = 24
TERM_CHARS_MAX = 64
QUERY_CHARS_MAX = 4_000
LIMIT_MAX = 50
_QUOTED = re.compile(r'"([^"]{1,200})"')
_WORD = re.compile(r"\w+")
_STOP_WORDS = (
    "a an and are as at be been but by can do does for from had has have how i if in into is it"
    " its my no not of on or our should so than that the their then there these they this to was"
    " we were what when where which who why will with would you your"
)
_STOP = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, slots=True)
class Query:
    """One way to ask the index; `match` is `all` (every term) or `any`."""

    match: str
    terms: tuple[str, ...]

    def spelled(self, dialect: str) -> str:
        """In the query language of the index; terms are quoted, so none can be an operator."""
        quoted = [f'"{term}"' for term in self.terms]
        if self.match == "all":
            return " ".join(quoted)
        return (" OR " if dialect == "sqlite" else " or ").join(quoted)


@dataclass(frozen=True, slots=True)
class Hit:
    """One found chunk and why it was found.

    `rank` counts from 1, `score` is the index's own (BM25 or cover density: higher is better),
    `snippet` marks the found words with « ». `outcome` is how its mission ended and `age_days` how
    old it is; None where unknown.
    """

    rank: int
    score: float
    match: str
    snippet: str
    text: str
    kind: str
    mission: str | None
    path: str
    sha256: str
    name: str
    outcome: str | None
    age_days: float | None

    def as_json(self) -> dict[str, Json]:
        return asdict(self)


def queries(text: str) -> tuple[Query, ...]:
    """What to ask for a person's words, in order; () when they hold nothing to look for.

    "Quoted words" stay a phrase. Never raises: whatever is no word is no part of a query.
    """
    text = text[:QUERY_CHARS_MAX].lower()
    phrases = [" ".join(_WORD.findall(phrase)) for phrase in _QUOTED.findall(text)]
    words = [w[:TERM_CHARS_MAX] for w in _WORD.findall(_QUOTED.sub(" ", text))]
    telling = [w for w in words if w not in _STOP] or words
    terms = tuple(dict.fromkeys(t for t in [*phrases, *telling] if t))[:TERMS_MAX]
    if not terms:
        return ()
    every = Query("all", terms)
    return (every,) if len(terms) == 1 else (every, Query("any", terms))


async def search(
    store: MemoryStore,
    workspace: str,
    text: str,
    *,
    now: datetime,
    limit: int = 10,
    kinds: Sequence[str] = (),
    without_mission: str | None = None,
) -> list[Hit]:
    """The best chunks of a workspace for `text`; those with every word come first."""
    limit = max(1, min(limit, LIMIT_MAX))
    found: dict[tuple[str, int], tuple[str, dict[str, Any]]] = {}
    for query in queries(text):
        rows = await store.search(
            query.spelled(store.dialect),
            workspace,
            limit=limit,
            kinds=kinds,
            without_mission=without_mission,
        )
        for row in rows:
            found.setdefault((row["path"], row["ordinal"]), (query.match, row))
        if len(found) >= limit:
            break
    best = list(found.values())[:limit]
    return [_hit(rank, match, row, now) for rank, (match, row) in enumerate(best, start=1)]


def _hit(rank: int, match: str, row: dict[str, Any], now: datetime) -> Hit:
    age = now - datetime.fromisoformat(row["stored_at"])
    return Hit(
        rank=rank,
        score=float(row["score"]),
        match=match,
        snippet=row["snippet"],
        text=row["text"],
        kind=row["kind"],
        mission=row["mission"],
        path=row["path"],
        sha256=row["sha256"],
        name=row["name"],
        outcome=row["outcome"],
        age_days=max(0.0, round(age.total_seconds() / 86_400, 3)),
    )
