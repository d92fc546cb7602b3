"""The embedded implementer: repairs small Python bugs that tests show, without any model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.events import Json
from quarterdeck.features.coding.commands import Command
from quarterdeck.features.coding.implementers.port import (
    Finished,
    ImplementerEvent,
    Progressed,
    Status,
    Task,
)
from quarterdeck.features.coding.repair.board import Board
from quarterdeck.features.coding.repair.run import Order, Repair

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
        if task.commands.test is None:
            yield Finished(Status.UNCHANGED, "No test command is known, so nothing can judge.")
            return
        board = Board(task.budget_s)
        repair = Repair(_order(task, task.commands.test), board, workers=self._workers)
        # Owned by this generator: the finally clause ends it, however the generator is left.
        work = asyncio.ensure_future(repair.run())
        try:
            shown: dict[str, Json] = {}
            while not (await asyncio.wait({work}, timeout=_EVENT_EVERY_S))[0]:
                figures = board.snapshot()
                if figures != shown:
                    shown = figures
                    yield Progressed(board.message, _fraction(board), figures)
            result = await work
            status = Status.CHANGED if result.changed else Status.UNCHANGED
            yield Finished(status, result.summary, result.evidence, result.handover)
        except QuarterdeckError as error:
            yield Finished(Status.FAILED, str(error))
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError, QuarterdeckError):
                await work


def _order(task: Task, test: Command) -> Order:
    return Order(
        root=task.path,
        scratch=task.work_dir / "repair",
        argv=test.argv,
        env=test.env,
        failing=task.failing,
        protected=task.commands.protected,
        budget_s=task.budget_s,
        seed=task.seed,
    )


def _fraction(board: Board) -> float | None:
    """The share of the tests that ran; later only the budget is known, which is no progress."""
    if board.search_started is None and board.tests and board.tests_run is not None:
        return board.tests_run / board.tests
    return None
