"""Tells when an agent goes round in circles. Pure."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

UNCHANGED_ROUNDS = 2
SAME_CALLS = 5
_ERROR_LINE = re.compile(r"^(?:E\s|.*\b(?:Error|Exception|FAILED|panic|assert)\b).*$", re.MULTILINE)
_VARYING = re.compile(r"0x[0-9a-f]+|/[^\s:'\"]+|\d+(?:\.\d+)?")


def error_signature(output: str) -> str:
    """A digest of what went wrong, without addresses, paths, line numbers and durations."""
    lines = _ERROR_LINE.findall(output)[-40:]
    return _digest("\n".join(_VARYING.sub("#", line.strip()) for line in lines))


def tree_signature(snapshot: Mapping[str, str]) -> str:
    """A digest of every file of the sandbox."""
    return _digest("\n".join(f"{path} {digest}" for path, digest in sorted(snapshot.items())))


@dataclass(frozen=True, slots=True)
class Round:
    """What a test run showed: the files it ran on, the tests that failed, how they failed."""

    tree: str
    failing: frozenset[str]
    error: str


class Circles:
    """Notices rounds that bring nothing new, and calls that are repeated word by word."""

    def __init__(self) -> None:
        self._last: Round | None = None
        self._unchanged = 0
        self._calls: Counter[str] = Counter()

    def tested(self, result: Round) -> str | None:
        """Note a test run; the reason to stop after `UNCHANGED_ROUNDS` that equal the one before."""
        self._unchanged = self._unchanged + 1 if result == self._last else 0
        self._last = result
        if self._unchanged < UNCHANGED_ROUNDS:
            return None
        return (
            f"Nothing changed for {UNCHANGED_ROUNDS} rounds: the same files, the same failing tests, "
            "the same error."
        )

    def called(self, call: str, outcome: str) -> str | None:
        """Note a tool call; the reason to stop when the same gave the same `SAME_CALLS` times."""
        key = _digest(f"{call}\n{outcome}")
        self._calls[key] += 1
        if self._calls[key] < SAME_CALLS:
            return None
        return f"The same call gave the same answer {SAME_CALLS} times: {call[:200]}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
