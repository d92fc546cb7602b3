"""The embedded implementer: repairs small Python bugs that tests show, without any model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.events import Json
from quarterdeck.features.coding.implementers.port import (
    Finished,
    ImplementerEvent,
    Progressed,
    Status,
    Task,
)
from quarterdeck.features.coding.repair.board import Board
from quarterdeck.features.coding.repair.run import Repair

_EVENT_EVERY_S = 0.25


class RepairImplementer:
    """Localises by spectrum, mutates by templates, judges by the project's own pytest suite.

    `workers` candidates are judged at a time. Tests and configuration are never edited.
    """

    def __init__(self, *, workers: int = 2) -> None:
        assert workers >= 1, "someone has to judge"
        self._workers = workers

    @property
    def name(self) -> str:
        return "repair"

    async def run(self, task: Task) -> AsyncIterator[ImplementerEvent]:
        """Work on the task; progress at most four times a second, `Finished` last."""
        board = Board(task.budget_s)
        # Owned by this generator: the finally clause ends it, however the generator is left.
        work = asyncio.ensure_future(Repair(task, board, workers=self._workers).run())
        try:
            shown: dict[str, Json] = {}
            while not (await asyncio.wait({work}, timeout=_EVENT_EVERY_S))[0]:
                figures = board.snapshot()
                if figures != shown:
                    shown = figures
                    yield Progressed(board.message, _fraction(board), figures)
            yield await work
        except QuarterdeckError as error:
            yield Finished(Status.FAILED, str(error))
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError, QuarterdeckError):
                await work


def _fraction(board: Board) -> float | None:
    """The share of the tests that ran; later only the budget is known, which is no progress."""
    if board.search_started is None and board.tests and board.tests_run is not None:
        return board.tests_run / board.tests
    return None
