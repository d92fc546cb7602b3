"""The search: workers draw candidates, judges try them, until a stop rule says enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quarterdeck.core.errors import Unavailable
from quarterdeck.features.coding.repair.board import Board
from quarterdeck.features.coding.repair.judge import Judge, Kind, Verdict
from quarterdeck.features.coding.repair.schedule import Candidate

PLAUSIBLE_MAX = 12
_RIVALS_S_MIN = 1.5
_RIVALS_TRIED_MIN = 150
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate with what the tests said and when: seconds into the search, tried before it."""

    candidate: Candidate
    verdict: Verdict
    at_s: float
    number: int


class Search:
    """One search over a stream of candidates; the results are its attributes."""

    def __init__(self, candidates: Iterator[Candidate], board: Board, *, until_s: float) -> None:
        self._candidates = candidates
        self._board = board
        self._until_s = until_s
        self._started = time.monotonic()
        self._parked: list[Candidate] = []
        self._exhausted = False
        self._broken: list[str] = []
        self._workers = 0
        self.plausible: list[Found] = []
        self.partial: Found | None = None
        self.stopped_by = ""

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    @property
    def rivals_sought(self) -> bool:
        """Whether the search went on long enough after the first patch."""
        return bool(self.plausible) and (
            self._exhausted or len(self.plausible) >= PLAUSIBLE_MAX or self._sought_long_enough()
        )

    async def run(self, judges: Sequence[Judge]) -> None:
        """Let every judge work until a stop rule holds; `stopped_by` then names it."""
        self._board.search_started = self._started
        self._workers = len(judges)
        async with asyncio.TaskGroup() as group:
            for judge in judges:
                group.create_task(self._work(judge))

    async def _work(self, judge: Judge) -> None:
        try:
            await self._judge_all(judge)
        except Unavailable as error:
            # The others go on; a target may have killed its own test process.
            self._broken.append(str(error))
            if len(self._broken) == self._workers:
                self.stopped_by = self.stopped_by or f"the test processes ended: {error}"

    async def _judge_all(self, judge: Judge) -> None:
        while (drawn := self._draw()) is not None:
            candidate, patience = drawn
            verdict = await judge.judge(candidate.edit, patience=patience, again=patience > 1)
            if verdict.kind is Kind.TIMEOUT and verdict.flipped and patience == 1.0:
                # A right fix may be slow; one that already flips a test is worth the wait.
                verdict = await judge.judge(candidate.edit, patience=_PATIENCE, again=True)
            elif verdict.kind is Kind.TIMEOUT and patience == 1.0:
                self._parked.append(candidate)
            self._record(candidate, verdict)
            await asyncio.sleep(0)

    def _draw(self) -> tuple[Candidate, float] | None:
        if self._must_stop():
            return None
        if not self._exhausted:
            candidate = next(self._candidates, None)
            if candidate is not None:
                self._board.generated = candidate.number + 1
                return candidate, 1.0
            self._exhausted = True
        if self._parked and not self.plausible:
            return self._parked.pop(0), _PATIENCE
        self.stopped_by = self.stopped_by or "every candidate was tried"
        return None

    def _must_stop(self) -> bool:
        if self.stopped_by:
            return True
        if len(self.plausible) >= PLAUSIBLE_MAX:
            self.stopped_by = f"{PLAUSIBLE_MAX} plausible patches"
        elif self._board.elapsed_s >= self._until_s:
            self.stopped_by = "the time was used up"
        elif self.plausible and self._sought_long_enough():
            self.stopped_by = "rivals were looked for long enough"
        return bool(self.stopped_by)

    def _sought_long_enough(self) -> bool:
        """Whether rivals had their chance: as long again, and at least so many candidates.

        After removals alone three times as long.
        """
        kept = [found for found in self.plausible if not found.candidate.edit.removal]
        factor = 2.0 if kept else 4.0
        first = (kept or self.plausible)[0]
        until_s = max(first.at_s * factor, first.at_s + _RIVALS_S_MIN * (factor - 1))
        tried = self._board.tried - first.number
        return self.elapsed_s > until_s and tried >= _RIVALS_TRIED_MIN * (factor - 1)

    def _record(self, candidate: Candidate, verdict: Verdict) -> None:
        board = self._board
        if verdict.kind in (Kind.SAME, Kind.SYNTAX):
            return
        board.tried += 1
        if verdict.cpu_ms is not None and not verdict.imported:
            board.cpu_ms.append(verdict.cpu_ms)
        found = Found(candidate, verdict, self.elapsed_s, board.tried)
        if verdict.kind is Kind.PLAUSIBLE:
            self.plausible.append(found)
            board.plausible = len(self.plausible)
        elif verdict.flipped > (self.partial.verdict.flipped if self.partial else 0):
            self.partial = found
            board.best_partial = verdict.flipped
