"""Commit objects written by ourselves: the same inputs always give the same hash."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from quarterdeck.features.coding.git.runner import Git
from quarterdeck.features.coding.git.signing import SigningKey

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = "Quarterdeck <quarterdeck@localhost>"
SUBJECT_MAX = 120
_KEPT = "\n\t"


def content(
    tree: str,
    parents: Sequence[str],
    message: str,
    *,
    at: datetime,
    author: str = IDENTITY,
    key: SigningKey | None = None,
) -> bytes:
    """The bytes of a commit object, signed when `key` is given (git's SSH signature format).

    `at` is both the author's and the committer's time, to the second, in UTC; `author` is
    `NAME <MAIL>`.
    """
    assert at.tzinfo is not None, "a time without zone would be read as local time"
    when = f"{int(at.timestamp())} +0000"
    headers = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    headers += [f"author {author} {when}", f"committer {IDENTITY} {when}"]
    body = f"\n\n{clean(message)}\n"
    unsigned = ("\n".join(headers) + body).encode()
    if key is None:
        return unsigned
    armor = key.sign(unsigned).rstrip("\n").replace("\n", "\n ")
    return ("\n".join([*headers, f"gpgsig {armor}"]) + body).encode()


async def write(git: Git, commit: bytes) -> str:
    """Store a commit object and return its hash."""
    return await git.text("hash-object", "-t", "commit", "-w", "--stdin", stdin=commit)


def message(subject: str, body: str, trailers: Sequence[tuple[str, str]]) -> str:
    """A commit message: one subject line, a body, and `trailers` as the last paragraph.

    Text of others can only become subject and body, so it cannot forge a trailer.
    """
    first = " ".join(clean(subject).split())
    lines = "\n".join(f"{name}: {' '.join(clean(value).split())}" for name, value in trailers)
    parts = [first[:SUBJECT_MAX] or "Change", clean(body).strip(), lines]
    return "\n\n".join(part for part in parts if part)


def clean(text: str) -> str:
    """The text without control characters and lone surrogates."""
    sound = text.encode(errors="replace").decode()
    return "".join(c for c in sound if c in _KEPT or (c >= " " and c != "\x7f")).strip("\n")
