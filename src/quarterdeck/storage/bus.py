"""The bus inside the process: tells who waits that the log has grown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from quarterdeck.core.events import Recorded
from quarterdeck.storage.log import Log

Wanted = Callable[[Recorded], bool]


class Bus:
    """Hands newly durable events to those who wait for them."""

    def __init__(self, log: Log) -> None:
        self._waiters: dict[asyncio.Future[None], Wanted] = {}
        log.listen(self._heard)

    async def next(self, wanted: Wanted, timeout_s: float) -> bool:
        """Wait until an event that `wanted` accepts is durable; False when the time is over."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = wanted
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        else:
            return True
        finally:
            del self._waiters[waiter]

    def _heard(self, recorded: list[Recorded]) -> None:
        for waiter, wanted in self._waiters.items():
            if not waiter.done() and any(wanted(one) for one in recorded):
                waiter.set_result(None)
