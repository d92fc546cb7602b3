"""The implementer for agents of the Agent Client Protocol: start, ask, listen, end."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from quarterdeck.core.clock import Clock, SystemClock
from quarterdeck.core.errors import InvalidInput
from quarterdeck.features.coding.implementers.acp.options import AcpOptions
from quarterdeck.features.coding.implementers.confined import Grants
from quarterdeck.features.coding.implementers.options import WHERE, read_options
from quarterdeck.features.coding.implementers.play import Emit, failed, play
from quarterdeck.features.coding.implementers.port import Finished, ImplementerEvent, Task

if TYPE_CHECKING:
    from quarterdeck.features.coding.implementers.acp.session import Attempt

SESSION = "quarterdeck.features.coding.implementers.acp.session"


class AcpImplementer:
    """Drives one external agent per run, confined to the sandbox.

    `grants` names the places agents are installed in, and the ports of model servers that a mission
    may open to its agent.
    """

    name = "acp"

    def __init__(
        self,
        *,
        grants: Grants | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._grants = grants or Grants()
        self._clock = clock or SystemClock()

    def check(self, task: Task) -> AcpOptions:
        """The task's options; `InvalidInput` when they do not fit this installation."""
        given = read_options(AcpOptions, task.options)
        if closed := sorted(set(given.loopback_ports) - self._grants.model_ports):
            raise InvalidInput(
                f"Port {closed[0]} is not one that agents may reach.",
                where=f"{WHERE}.loopback_ports",
                hint=f"Open to agents: {sorted(self._grants.model_ports) or 'none'}.",
            )
        return given

    def run(self, task: Task) -> AsyncIterator[ImplementerEvent]:
        """Hand the task to the agent; see the port's promises."""

        attempt: Attempt | None = None

        async def work(emit: Emit) -> Finished:
            nonlocal attempt
            options = self.check(task)
            attempt = await self._attempt(task, options, emit)
            return await attempt.run()

        async def cut_short(reason: str) -> Finished:
            return await failed(reason) if attempt is None else await attempt.end(reason)

        return play(work, budget_s=task.budget_s, cut_short=cut_short)

    async def _attempt(self, task: Task, options: AcpOptions, emit: Emit) -> Attempt:
        # The SDK takes about a second to import: only when used, and beside the loop.
        module = await asyncio.to_thread(importlib.import_module, SESSION)
        return module.Attempt(task, options, emit, self._clock, grants=self._grants)
