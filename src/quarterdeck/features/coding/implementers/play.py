"""Plays an implementer's work as the port's stream of events: ends with `Finished`, always."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.features.coding.implementers.port import (
    Finished,
    ImplementerEvent,
    Progressed,
    Status,
    Used,
)

Emit: TypeAlias = Callable[[Progressed | Used], None]
Work: TypeAlias = Callable[[Emit], Awaitable[Finished]]
CutShort: TypeAlias = Callable[[str], Awaitable[Finished]]
"""Makes the last event of a run that did not come to its own end; given the reason."""


async def failed(reason: str) -> Finished:
    """The plainest end of a run that was cut short."""
    return Finished(Status.FAILED, reason, handover={"reason": reason})


async def play(
    work: Work, *, budget_s: float, cut_short: CutShort = failed
) -> AsyncGenerator[ImplementerEvent, None]:
    """Run `work` beside the consumer and yield what it emits; the last event is `Finished`.

    An error of the product's own tree and a used-up budget end as `Finished` through `cut_short`;
    any other exception is a defect and is raised. Closing the generator cancels `work` and waits
    until its clean-up is through.
    """
    queue: asyncio.Queue[ImplementerEvent | None] = asyncio.Queue()

    async def run() -> None:
        queue.put_nowait(await _to_the_end(work, queue.put_nowait, budget_s, cut_short))

    # Not a TaskGroup: closing a generator from another task cannot leave a group's scope.
    task = asyncio.get_running_loop().create_task(run())
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (event := await queue.get()) is not None:
            yield event
        await task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _to_the_end(work: Work, emit: Emit, budget_s: float, cut_short: CutShort) -> Finished:
    scope = asyncio.timeout(budget_s)
    try:
        async with scope:
            return await work(emit)
    except QuarterdeckError as error:
        return await cut_short(str(error))
    except TimeoutError:
        if not scope.expired():
            raise
        return await cut_short(f"The budget of {budget_s:g} s is used up.")
