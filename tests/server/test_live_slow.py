"""Clients that read slowly, stop reading or vanish: nobody else notices, and nothing grows."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from quarterdeck.server import live_socket, live_uvicorn
from tests.server.live_building import TOKEN, Installation, heard, heard_up_to, places, served

pytestmark = pytest.mark.req("RUN-5")

BIG = "x" * 50_000
HANDSHAKE = (
    "GET /api/live HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    f"Authorization: Bearer {TOKEN}\r\n\r\n"
)


async def _plain_socket(here: Installation) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client without a WebSocket library: it answers no ping and need not read."""
    host, _, port = here.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(HANDSHAKE.format(here.address).encode())
    assert b" 101 " in await reader.readline()
    return reader, writer


async def _left_alone(here: Installation) -> None:
    async with asyncio.timeout(10):
        while here.room.hub.followers or here.room._sockets:
            await asyncio.sleep(0.01)


async def _events_and_kinds(client: ClientConnection, last: int) -> tuple[list[int], set[str]]:
    found: list[int] = []
    kinds: set[str] = set()
    while not found or found[-1] < last:
        message = await heard(client)
        kinds.add(message["type"])
        found += places(message.get("events", ()))
    return found, kinds


@pytest.fixture
def buffers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What waits in the transport of each socket after each write."""
    seen: list[int] = []
    write = live_uvicorn.DirectWire.write

    def watched(self: live_uvicorn.DirectWire, frame) -> bool:
        taken = write(self, frame)
        seen.append(self._protocol.transport.get_write_buffer_size())
        return taken

    monkeypatch.setattr(live_uvicorn.DirectWire, "write", watched)
    return seen


@pytest.mark.slow
async def test_a_slow_reader_is_conflated_and_loses_nothing(tmp_path: Path, buffers: list[int]):
    async with served(tmp_path) as here, here.open(max_queue=1) as slow, here.open() as quick:
        await heard(quick, "live")
        last = 0
        for _ in range(40):
            last = await here.happen(*["m1"] * 10, text=BIG)
            assert places(await heard_up_to(quick, last)) == list(range(last - 9, last + 1))
        assert max(buffers) <= live_uvicorn.BUFFER_BYTES + live_socket.PAGE_MAX + 70_000
        found, kinds = await _events_and_kinds(slow, last)
        assert found == list(range(1, last + 1))
        assert "behind" in kinds
        last = await here.happen("m1")
        assert places(await heard_up_to(slow, last)) == [last]


@pytest.mark.slow
async def test_a_slow_reader_loses_nothing_over_plain_asgi(tmp_path: Path):
    async with (
        served(tmp_path, direct=False) as here,
        here.open(max_queue=1) as slow,
        here.open() as quick,
    ):
        await heard(quick, "live")
        last = 0
        for _ in range(40):
            last = await here.happen(*["m1"] * 10, text=BIG)
            assert len(await heard_up_to(quick, last)) == 10
        found, _ = await _events_and_kinds(slow, last)
        assert found == list(range(1, last + 1))


async def test_one_who_reads_nothing_is_dropped(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(live_socket, "STALL_S", 0.2)
    async with served(tmp_path) as here:
        _, writer = await _plain_socket(here)
        while not here.room.hub.followers:
            await asyncio.sleep(0.01)
        for _ in range(30):
            await here.happen(*["m1"] * 10, text=BIG)
        await _left_alone(here)
        writer.transport.abort()


async def test_one_who_answers_no_ping_is_dropped(tmp_path: Path):
    async with served(tmp_path, ws_ping_interval=0.1, ws_ping_timeout=0.1) as here:
        reader, writer = await _plain_socket(here)
        async with asyncio.timeout(5):
            while await reader.read(1024):
                pass
        await _left_alone(here)
        writer.close()


async def test_a_client_that_resets_its_connection_is_forgotten(tmp_path: Path):
    async with served(tmp_path) as here, here.open() as other:
        await heard(other, "live")
        _, writer = await _plain_socket(here)
        while here.room.hub.followers < 2:
            await asyncio.sleep(0.01)
        own: socket.socket = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        last = await here.happen("m1")
        assert places(await heard_up_to(other, last)) == [last]
        async with asyncio.timeout(5):
            while here.room.hub.followers > 1:
                await asyncio.sleep(0.01)


async def test_a_log_that_cannot_be_read_says_come_back(tmp_path: Path, monkeypatch):
    async with served(tmp_path) as here:
        await here.happen("m1")

        async def broken(*_args, **_more):
            raise OSError("the disk is gone")

        monkeypatch.setattr(here.room.hub._stored, "page", broken)
        async with here.open("/api/live?after=0") as client:
            error = await heard(client, "error")
            assert error["code"] == "unavailable"
            await asyncio.wait_for(client.wait_closed(), 5)
            assert client.close_code == 1013
        assert await here.happen("m1") == 2


async def test_sockets_are_not_delayed_by_nagle(tmp_path: Path, monkeypatch):
    seen: list[int] = []
    write = live_uvicorn.DirectWire.write

    def watched(self: live_uvicorn.DirectWire, frame) -> bool:
        own = self._protocol.transport.get_extra_info("socket")
        seen.append(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return write(self, frame)

    monkeypatch.setattr(live_uvicorn.DirectWire, "write", watched)
    async with served(tmp_path) as here, here.open() as client:
        await heard(client, "live")
    assert seen
    assert all(seen)
