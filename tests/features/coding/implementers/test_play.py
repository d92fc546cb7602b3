"""The stream of events of an implementer: it ends with `Finished`, and closing it ends the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from quarterdeck.core.errors import StepFailed
from quarterdeck.features.coding.implementers.play import Emit, play
from quarterdeck.features.coding.implementers.port import (
    Finished,
    ImplementerEvent,
    Progressed,
    Status,
)

DONE = Finished(Status.CHANGED, "Done.")


async def all_of(events: AsyncGenerator[ImplementerEvent]) -> list[ImplementerEvent]:
    return [event async for event in events]


async def test_events_come_in_order_and_finished_is_last() -> None:
    async def work(emit: Emit) -> Finished:
        emit(Progressed("one"))
        await asyncio.sleep(0)
        emit(Progressed("two"))
        return DONE

    events = await all_of(play(work, budget_s=5))
    assert events == [Progressed("one"), Progressed("two"), DONE]


async def test_an_error_of_the_product_is_a_failed_end() -> None:
    async def work(emit: Emit) -> Finished:
        raise StepFailed("It broke.", hint="Mend it.")

    (last,) = await all_of(play(work, budget_s=5))
    assert isinstance(last, Finished)
    assert (last.status, last.summary) == (Status.FAILED, "It broke. Mend it.")


async def test_the_budget_ends_the_work() -> None:
    async def work(emit: Emit) -> Finished:
        await asyncio.sleep(60)
        return DONE

    (last,) = await all_of(play(work, budget_s=0.05))
    assert isinstance(last, Finished)
    assert last.status is Status.FAILED
    assert "0.05 s" in last.summary


async def test_a_defect_is_raised_not_hidden() -> None:
    async def work(emit: Emit) -> Finished:
        raise TimeoutError("not the budget's")

    with pytest.raises(TimeoutError, match="not the budget's"):
        await all_of(play(work, budget_s=5))


async def test_closing_waits_for_the_clean_up() -> None:
    cleaned: list[str] = []

    async def work(emit: Emit) -> Finished:
        emit(Progressed("on it"))
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
            cleaned.append("yes")
        return DONE

    events = play(work, budget_s=60)
    assert await anext(events) == Progressed("on it")
    await events.aclose()
    assert cleaned == ["yes"]
