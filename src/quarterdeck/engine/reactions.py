"""Reactions: work that follows from facts, in order, once each, over restarts too.

A reaction remembers its place in the log. What it was not told before a crash it is told after it,
and the last event may come twice: a reaction must be safe to repeat.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from quarterdeck.core.events import EventType, Recorded
from quarterdeck.engine.context import Resources
from quarterdeck.storage.log import Commit, Log
from quarterdeck.storage.places import place_row, read_places

PAGE = 200
RETRY_S = 5.0
TRIES_MAX = 3


@dataclass(frozen=True, slots=True)
class Reaction:
    """What to do about events of some types; `name` is where its place is remembered."""

    name: str
    types: tuple[EventType, ...]
    run: Callable[[Recorded, Resources], Awaitable[None]]


class Reactions:
    """Runs every reaction behind the log, each in a task of its own."""

    def __init__(
        self,
        log: Log,
        reactions: tuple[Reaction, ...],
        *,
        resources: Resources,
        report: Callable[[str], None],
    ) -> None:
        self._log = log
        self._reactions = reactions
        self._resources = resources
        self._report = report
        self._grown = {reaction.name: asyncio.Event() for reaction in reactions}
        self._done: dict[str, int] = {}
        self._moved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Catch up from where each reaction was, then follow the log."""
        places = await read_places(self._log.db)
        loop = asyncio.get_running_loop()
        for reaction in self._reactions:
            self._done[reaction.name] = places.get(reaction.name, 0)
            self._tasks.append(
                loop.create_task(self._follow(reaction), name=f"reaction:{reaction.name}")
            )
        self._log.listen(self._heard)

    async def stop(self) -> None:
        """Stop between two events."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def caught_up(self) -> None:
        """Wait until every reaction has seen what is in the log now."""
        wanted = self._log.last_seq
        while any(done < wanted for done in self._done.values()):
            self._moved.clear()
            await self._moved.wait()

    def _heard(self, _recorded: list[Recorded]) -> None:
        for grown in self._grown.values():
            grown.set()

    async def _follow(self, reaction: Reaction) -> None:
        """Follow until cancelled; a log that cannot be read or written is tried again."""
        while True:
            try:
                await self._read_on(reaction)
            except Exception as error:  # noqa: BLE001 - one of the supervising loops
                self._report(f"{reaction.name}: {type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_S)

    async def _read_on(self, reaction: Reaction) -> None:
        types = [kind.value for kind in reaction.types]
        while True:
            self._grown[reaction.name].clear()
            end = self._log.last_seq
            after = self._done[reaction.name]
            page = await self._log.read(after=after, types=types, limit=PAGE)
            for recorded in page:
                await self._react(reaction, recorded)
                self._remember(reaction.name, recorded.seq)
            if len(page) == PAGE:
                continue
            self._done[reaction.name] = max(self._done[reaction.name], end)
            self._moved.set()
            await self._grown[reaction.name].wait()

    async def _react(self, reaction: Reaction, recorded: Recorded) -> None:
        for tries in range(1, TRIES_MAX + 1):
            try:
                await reaction.run(recorded, self._resources)
                return
            except Exception:  # noqa: BLE001 - one bad event must not stop a reaction for ever
                self._report(f"{reaction.name} on event {recorded.seq}: {traceback.format_exc()}")
                if tries < TRIES_MAX:
                    await asyncio.sleep(RETRY_S * (tries - 1))

    def _remember(self, name: str, seq: int) -> None:
        self._done[name] = seq
        self._log.append(Commit(rows=[place_row(name, seq)]))
