"""Messages of an agent: whatever it sends, the limits hold and the connection ends in order."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator

import pytest

from quarterdeck.core.clock import SystemClock
from quarterdeck.core.errors import StepFailed, TooLarge
from quarterdeck.features.coding.implementers.acp import transport as module
from quarterdeck.features.coding.implementers.acp.transport import AgentTransport


@pytest.fixture
async def writer() -> AsyncIterator[asyncio.StreamWriter]:
    """The writing end of a pipe nobody has to read."""
    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(writing, "wb")
    )
    stream = asyncio.StreamWriter(transport, protocol, None, loop)
    yield stream
    stream.close()
    await asyncio.sleep(0)
    os.close(reading)


def transport_of(content: bytes, writer: asyncio.StreamWriter) -> AgentTransport:
    reader = asyncio.StreamReader()
    reader.feed_data(content)
    reader.feed_eof()
    return AgentTransport(reader, writer, SystemClock())


async def messages(transport: AgentTransport) -> list[object]:
    found: list[object] = []
    while (message := await transport.receive()) is not None:
        found.append(message)
    return found


async def test_messages_come_one_by_one_and_noise_is_skipped(writer: asyncio.StreamWriter) -> None:
    noise = b"Starting...\n\n[1,2]\nnull\n" + b"[" * 100_000 + b"\n"
    content = b'{"id":1}\n' + noise + b'{"id":2}\n{"id":3'
    transport = transport_of(content, writer)
    assert await messages(transport) == [{"id": 1}, {"id": 2}]
    assert transport.fault is None


async def test_meta_cannot_overwrite_parameters(writer: asyncio.StreamWriter) -> None:
    sent = {"method": "fs/write_text_file", "params": {"path": "a", "_meta": {"path": "/etc/x"}}}
    transport = transport_of(json.dumps(sent).encode() + b"\n", writer)
    assert await messages(transport) == [{"method": "fs/write_text_file", "params": {"path": "a"}}]


async def test_something_that_is_no_agent_is_cut_off(writer: asyncio.StreamWriter) -> None:
    transport = transport_of(b"hello\n" * 1000, writer)
    assert await messages(transport) == []
    assert isinstance(transport.fault, StepFailed)


async def test_a_message_without_end_is_cut_off(
    writer: asyncio.StreamWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MESSAGE_MAX_BYTES", 100_000)
    transport = transport_of(b"x" * 300_000, writer)
    assert await messages(transport) == []
    assert isinstance(transport.fault, TooLarge)


@pytest.mark.slow
async def test_the_sum_of_all_messages_is_bounded(
    writer: asyncio.StreamWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECEIVED_MAX_BYTES", 100_000)
    transport = transport_of(b'{"a":1}\n' * 20_000, writer)
    await messages(transport)
    assert isinstance(transport.fault, TooLarge)


async def test_a_flood_is_held_back_to_the_rate(
    writer: asyncio.StreamWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MESSAGES_PER_S", 1_000.0)
    monkeypatch.setattr(module, "BURST_S", 0.1)
    transport = transport_of(b'{"a":1}\n' * 400, writer)
    clock = SystemClock()
    begin_s = clock.monotonic_s()
    assert len(await messages(transport)) == 400
    assert clock.monotonic_s() - begin_s >= 0.25
