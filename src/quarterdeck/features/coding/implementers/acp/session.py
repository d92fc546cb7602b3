"""One attempt of an agent: its process, its session, and every way it can end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import acp
from acp import schema
from acp.client.connection import ClientSideConnection
from pydantic import ValidationError

from quarterdeck import __version__
from quarterdeck.confine import ConfinedProcess, start_command
from quarterdeck.core.clock import Clock
from quarterdeck.core.errors import QuarterdeckError, StepFailed
from quarterdeck.features.coding.implementers.acp.client import SandboxClient
from quarterdeck.features.coding.implementers.acp.options import AcpOptions
from quarterdeck.features.coding.implementers.acp.terminals import Terminals
from quarterdeck.features.coding.implementers.acp.transport import AgentTransport
from quarterdeck.features.coding.implementers.acp.updates import Updates
from quarterdeck.features.coding.implementers.brief import RULES, brief_of
from quarterdeck.features.coding.implementers.confined import Grants, confinement_of, fill_in
from quarterdeck.features.coding.implementers.play import Emit
from quarterdeck.features.coding.implementers.port import Finished, Status, Task, Used
from quarterdeck.features.coding.implementers.progress import Progress, plain
from quarterdeck.features.coding.implementers.tree import SandboxTree, changed_paths

CANCEL_GRACE_S = 2.0
EXIT_GRACE_S = 1.0
CHUNK_BYTES = 65_536
ERRORS_KEPT_BYTES = 4_096
STOPS = {
    "end_turn": "The agent ended its turn.",
    "max_tokens": "The agent ran into its limit of tokens.",
    "max_turn_requests": "The agent ran into its limit of model requests.",
    "refusal": "The agent refused to go on.",
    "cancelled": "The agent says that it was cancelled.",
}
BROKEN = (ConnectionError, acp.RequestError, ValidationError, QuarterdeckError)
"""How a conversation breaks off; anything else is a defect of ours."""
GAVE_UP = frozenset({"refusal", "cancelled"})


class Tail:
    """The last bytes an agent wrote to its standard error."""

    def __init__(self) -> None:
        self._kept = b""

    async def follow(self, stream: asyncio.StreamReader) -> None:
        """Read to the end, so that the agent never has to wait."""
        while chunk := await stream.read(CHUNK_BYTES):
            self._kept = (self._kept + chunk)[-ERRORS_KEPT_BYTES:]

    @property
    def text(self) -> str:
        lines = self._kept.decode(errors="replace").split("\n")
        return "\n".join(plain(line) for line in lines).strip()


class Attempt:
    """Runs one agent through one prompt. A stop reason says that it ended, never that it is done."""

    def __init__(
        self,
        task: Task,
        options: AcpOptions,
        emit: Emit,
        clock: Clock,
        *,
        grants: Grants,
    ) -> None:
        self._task = task
        self._options = options
        self._emit = emit
        self._clock = clock
        self._tree = SandboxTree(task.path)
        self._progress = Progress(emit, clock)
        self._updates = Updates(self._progress)
        self._errors = Tail()
        self._confinement = confinement_of(task, grants, loopback_ports=options.loopback_ports)
        self._terminals = Terminals(confinement_of(task, grants), timeout_s=task.budget_s)
        self._client = SandboxClient(
            self._tree,
            self._terminals,
            self._updates,
            self._progress,
            allow_commands=options.allow_commands,
        )
        self._agent = "agent"
        self._start_ms: dict[str, float] = {}
        self._stop: str | None = None
        self._session: str | None = None
        self._before: dict[str, str] = {}

    async def run(self) -> Finished:
        """Start the agent, hand it the task, and say how it ended; always ends its processes."""
        self._before = await asyncio.to_thread(self._tree.snapshot)
        return await self.end(await self._ended())

    async def end(self, reason: str | None) -> Finished:
        """The last event; `reason` says why the agent did not come to an end of its own."""
        self._updates.end()
        changed = changed_paths(self._before, await asyncio.to_thread(self._tree.snapshot))
        return self._finished(reason, changed)

    async def _ended(self) -> str | None:
        """Run to the end; the reason when it did not come to an end of its own."""
        process = await start_command(
            fill_in(self._options.argv, self._task),
            cwd=self._tree.root,
            confinement=self._confinement,
            env=self._options.env,
            line_bytes_max=CHUNK_BYTES,
        )
        async with process:
            # Owned by this block: it is cancelled and awaited below.
            listening = asyncio.ensure_future(self._errors.follow(process.stderr))
            transport = AgentTransport(process.stdout, process.stdin, self._clock)
            connection = acp.connect_to_agent(self._client, transport)
            try:
                await self._converse(connection, transport)
            except BROKEN as error:
                return await self._explained(error, transport, process)
            finally:
                await self._shut_down(connection, process)
                listening.cancel()
                await asyncio.wait({listening})
        return None

    async def _converse(self, connection: ClientSideConnection, transport: AgentTransport) -> None:
        await self._within(self._start(connection), self._options.start_timeout_s)
        prompt = acp.text_block(f"{RULES}\n\n{brief_of(self._task)}")
        assert self._session is not None, "a started agent has a session"
        asked_s = self._clock.monotonic_s()
        self._progress.say(f"{self._agent} is ready.", start_ms=self._start_ms)
        answer = await self._while_heard(connection.prompt(self._session, [prompt]), transport)
        self._stop = answer.stop_reason
        self._account(answer, self._clock.monotonic_s() - asked_s)

    async def _start(self, connection: ClientSideConnection) -> None:
        begin_s = self._clock.monotonic_s()
        hello = await connection.initialize(
            acp.PROTOCOL_VERSION,
            client_capabilities=schema.ClientCapabilities(
                fs=schema.FileSystemCapabilities(read_text_file=True, write_text_file=True),
                terminal=self._options.allow_commands,
            ),
            client_info=schema.Implementation(
                name="quarterdeck", title="Quarterdeck", version=__version__
            ),
        )
        if hello.protocol_version != acp.PROTOCOL_VERSION:
            raise StepFailed(
                f"The agent speaks version {hello.protocol_version} of the protocol.",
                hint=f"Version {acp.PROTOCOL_VERSION} is spoken here.",
            )
        if hello.agent_info is not None:
            self._agent = plain(f"{hello.agent_info.name} {hello.agent_info.version}", limit=100)
        self._start_ms["initialize"] = self._since_ms(begin_s)
        begin_s = self._clock.monotonic_s()
        session = await connection.new_session(str(self._tree.root), mcp_servers=[])
        self._session = session.session_id
        self._start_ms["new_session"] = self._since_ms(begin_s)

    def _since_ms(self, begin_s: float) -> float:
        return round((self._clock.monotonic_s() - begin_s) * 1000, 1)

    async def _within(self, waited: Any, limit_s: float) -> None:
        scope = asyncio.timeout(limit_s)
        try:
            async with scope:
                await waited
        except TimeoutError:
            if not scope.expired():
                raise
            raise StepFailed(f"The agent was not ready within {limit_s:g} s.") from None

    async def _while_heard(self, waited: Any, transport: AgentTransport) -> schema.PromptResponse:
        """Wait for the answer as long as the agent says something, or one of its commands runs."""
        limit_s = self._options.idle_timeout_s
        waiting = asyncio.ensure_future(waited)
        try:
            while not waiting.done():
                if self._terminals.busy:
                    transport.heard_s = self._clock.monotonic_s()
                silent_s = self._clock.monotonic_s() - transport.heard_s
                if silent_s >= limit_s:
                    raise StepFailed(f"The agent said nothing for {limit_s:g} s.")
                await asyncio.wait({waiting}, timeout=limit_s - silent_s)
            return waiting.result()
        finally:
            if not waiting.done():
                waiting.cancel()
                await asyncio.wait({waiting})

    def _account(self, answer: schema.PromptResponse, duration_s: float) -> None:
        usage = answer.usage
        if usage is None and self._updates.usage is None:
            return
        self._emit(
            Used(
                model=self._agent,
                input_tokens=usage.input_tokens if usage else None,
                output_tokens=usage.output_tokens if usage else None,
                duration_s=duration_s,
            )
        )

    async def _explained(
        self, error: Exception, transport: AgentTransport, process: ConfinedProcess
    ) -> str:
        """Say why the conversation broke off."""
        if transport.fault is not None:
            return str(transport.fault)
        if isinstance(error, acp.RequestError):
            return plain(f"The agent answered with an error: {error} {error.data or ''}")
        if isinstance(error, ValidationError):
            return "The agent gave an answer that does not fit the protocol."
        if not isinstance(error, ConnectionError):
            return str(error)
        try:
            async with asyncio.timeout(EXIT_GRACE_S):
                ending = await process.wait()
        except TimeoutError:
            return "The agent closed its output in the middle of its work."
        if ending.stopped_by is not None:
            return f"The agent was stopped: it went over the limit {ending.stopped_by}."
        how = f"signal {ending.signal}" if ending.exit_code is None else f"code {ending.exit_code}"
        return f"The agent ended with {how} in the middle of its work."

    async def _shut_down(self, connection: ClientSideConnection, process: ConfinedProcess) -> None:
        """Ask it to stop, close its input, and give it a moment; the caller kills what is left."""
        if self._stop is None and self._session is not None:
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(CANCEL_GRACE_S):
                    await connection.cancel(self._session)
        await self._terminals.close()
        with suppress(ConnectionError):
            await connection.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(EXIT_GRACE_S):
                await process.wait()

    def _finished(self, reason: str | None, changed: list[str]) -> Finished:
        record = asdict(self._client.record)
        evidence = {
            "agent": self._agent,
            "stop_reason": self._stop,
            "start_ms": self._start_ms,
            "client": record,
            "tool_calls": self._updates.tool_calls,
            "usage": self._updates.usage,
            "changed": changed[:200],
        }
        handover = {
            "last_words": self._updates.text[-4_000:],
            "errors": self._errors.text,
            "changed": changed[:200],
        }
        if reason is not None:
            return Finished(Status.FAILED, reason, evidence, {"reason": reason, **handover})
        summary = STOPS.get(self._stop or "", f"The agent stopped: {self._stop}.")
        status = Status.CHANGED if changed else Status.UNCHANGED
        if self._stop in GAVE_UP:
            status = Status.FAILED
        return Finished(status, summary, evidence, handover)
