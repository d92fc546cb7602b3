"""Messages to and from an agent over its standard streams, with limits on every quantity."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from quarterdeck.core.clock import Clock
from quarterdeck.core.errors import StepFailed, TooLarge

MESSAGE_MAX_BYTES = 16 * 1_048_576
RECEIVED_MAX_BYTES = 512 * 1_048_576
MESSAGES_PER_S = 2_000.0
BURST_S = 0.5
NOT_JSON_MAX = 100
CHUNK_BYTES = 65_536


class AgentTransport:
    """Newline-delimited JSON-RPC for the SDK's connection (its `Transport` protocol).

    Keeps when the agent last said something (`heard_s`, monotonic) and why it was cut off
    (`fault`). An agent that talks faster than `MESSAGES_PER_S` is held back by its own pipe.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, clock: Clock
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._sending = asyncio.Lock()
        self._buffer = bytearray()
        self._searched = 0
        self._received = 0
        self._not_json = 0
        self.heard_s = self._due_s = clock.monotonic_s()
        self.fault: StepFailed | TooLarge | None = None

    async def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        async with self._sending:
            self._writer.write(data)
            await self._writer.drain()

    async def receive(self) -> dict[str, Any] | None:
        """The next message, or None at the end of the stream or at a fault."""
        try:
            while (line := await self._line()) is not None:
                message = self._message(line)
                if message is not None:
                    await self._hold_back()
                    return message
        except (StepFailed, TooLarge) as fault:
            self.fault = fault
        except ConnectionError:
            pass  # The agent is gone; the end of the stream says so.
        return None

    async def close(self) -> None:
        self._writer.close()

    async def _line(self) -> bytes | None:
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > MESSAGE_MAX_BYTES:
                raise TooLarge(f"The agent sent a message of more than {MESSAGE_MAX_BYTES} bytes.")
            chunk = await self._reader.read(CHUNK_BYTES)
            if not chunk:
                return None
            self._received += len(chunk)
            if self._received > RECEIVED_MAX_BYTES:
                raise TooLarge(f"The agent sent more than {RECEIVED_MAX_BYTES} bytes.")
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def _message(self, line: bytes) -> dict[str, Any] | None:
        self.heard_s = self._clock.monotonic_s()
        if not line.strip():
            return None
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict):
            return _without_meta(message)
        self._not_json += 1
        if self._not_json > NOT_JSON_MAX:
            raise StepFailed("The agent does not speak the protocol: its output is not JSON-RPC.")
        return None

    async def _hold_back(self) -> None:
        # The SDK starts a task for each message; giving way after each keeps them few.
        now_s = self._clock.monotonic_s()
        self._due_s = max(self._due_s, now_s - BURST_S) + 1.0 / MESSAGES_PER_S
        await asyncio.sleep(max(0.0, self._due_s - now_s))


def _without_meta(message: dict[str, Any]) -> dict[str, Any]:
    # The SDK passes the free-form `_meta` on as keyword arguments, where it would overwrite real
    # parameters such as the path.
    params = message.get("params")
    if isinstance(params, dict):
        params.pop("_meta", None)
    return message
