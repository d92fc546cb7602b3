"""Slots: places among the steps that may run at once, given out in the order of asking."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from quarterdeck.core.step import StepKind
from quarterdeck.engine.context import StepContext

STEPS_AT_ONCE_MAX = 256


class Slots:
    """Bounds all steps together, and those of a kind with a limit of its own.

    A place is taken for a kind and given back for the same kind.
    """

    def __init__(self, kinds: Iterable[StepKind[StepContext]]) -> None:
        self._all = _Places(STEPS_AT_ONCE_MAX)
        self._of_kind = {
            kind.name: _Places(kind.concurrency_max)
            for kind in kinds
            if kind.concurrency_max is not None
        }

    def take_now(self, kind: StepKind[StepContext]) -> bool:
        """Take a place if there is one at once."""
        own = self._of_kind.get(kind.name)
        if own is not None and not own.take_now():
            return False
        if self._all.take_now():
            return True
        if own is not None:
            own.give()
        return False

    async def take(self, kind: StepKind[StepContext]) -> None:
        """Wait for a place."""
        own = self._of_kind.get(kind.name)
        if own is not None:
            await own.take()
        try:
            await self._all.take()
        except asyncio.CancelledError:
            if own is not None:
                own.give()
            raise

    def give(self, kind: StepKind[StepContext]) -> None:
        """Let the next one in."""
        self._all.give()
        own = self._of_kind.get(kind.name)
        if own is not None:
            own.give()


class _Places:
    """So many places and one line of those who wait."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._line: deque[asyncio.Future[None]] = deque()

    def take_now(self) -> bool:
        if self._free == 0:
            return False
        self._free -= 1
        return True

    async def take(self) -> None:
        if self.take_now():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the place was handed over in the same moment
                self.give()
            raise

    def give(self) -> None:
        """Hand the place to the first who still waits; nobody overtakes those in line."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
