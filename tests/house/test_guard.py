"""The guard of tests/conftest.py: loopback works, everything else is refused."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

_OUTSIDE = "192.0.2.1"  # RFC 5737: a network that exists in documentation only


def _send_a_datagram() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", (_OUTSIDE, 53))


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: socket.create_connection((_OUTSIDE, 80), timeout=1), id="v4"),
        pytest.param(lambda: socket.create_connection(("2001:db8::1", 80), timeout=1), id="v6"),
        pytest.param(lambda: socket.getaddrinfo("example.org", 80), id="name"),
        pytest.param(_send_a_datagram, id="datagram"),
    ],
)
def test_nothing_outside_is_reached(call: Callable[[], object]) -> None:
    with pytest.raises(OSError, match="loopback only"):
        call()


def test_local_sockets_work(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        client.connect(str(tmp_path / "socket"))


async def test_loopback_works() -> None:
    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("localhost", port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


def test_git_knows_nobody(tmp_path: Path) -> None:
    found = subprocess.run(
        ["git", "config", "--get", "user.email"], cwd=tmp_path, capture_output=True, check=False
    )
    assert found.stdout == b""


def test_no_key_is_at_hand() -> None:
    assert not [name for name in os.environ if name.endswith("_API_KEY")]
