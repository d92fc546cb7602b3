"""No network by default; loopback, and nothing but loopback, where it is asked for."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from quarterdeck.confine import Network

CONNECT = """
import socket, sys
for host, port in [{targets}]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as client:
            client.settimeout(2)
            client.connect((host, port))
            print("connected")
    except OSError as error:
        print(type(error).__name__)
"""

SERVE = """
import asyncio
async def main():
    async def answer(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(answer, {host!r}, 0)
    for listening in server.sockets:
        host, port = listening.getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"hello\\n")
        assert await reader.readline() == b"hello\\n"
        writer.close()
        print(host)
    server.close()
asyncio.run(main())
"""


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server on this machine's loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def targets(*pairs: tuple[str, int]) -> str:
    return CONNECT.format(targets=", ".join(map(repr, pairs)))


async def test_by_default_there_is_no_tcp(run, server):
    result = await run(targets(("127.0.0.1", server)))
    assert result.stdout == b"PermissionError\n"


async def test_only_the_given_port_on_loopback_is_reached(run, server):
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = await run(
            targets(
                ("127.0.0.1", server),
                ("127.0.0.1", other.getsockname()[1]),
                ("192.0.2.1", server),
                ("0.0.0.0", server),  # noqa: S104 - to be refused
                ("2001:db8::1", server),
                ("::ffff:192.0.2.1", server),
            ),
            network=Network.loopback(server),
        )
    assert result.stdout.split() == [b"connected", *[b"PermissionError"] * 5]


async def test_with_a_given_port_no_server_can_be_opened(run, server):
    code = "import socket\nsocket.create_server(('127.0.0.1', 0))"
    result = await run(code, network=Network.loopback(server))
    assert b"PermissionError" in result.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "localhost"])  # noqa: S104 - to be narrowed
async def test_a_test_suite_can_talk_to_its_own_servers(run, host):
    result = await run(SERVE.format(host=host), network=Network.LOOPBACK)
    assert result.ok, result.output
    assert set(result.stdout.decode().split()) <= {"127.0.0.1", "::1"}


async def test_own_servers_do_not_open_the_machine(run, server):
    result = await run(targets(("127.0.0.1", server)), network=Network.LOOPBACK)
    assert result.stdout == b"PermissionError\n"


async def test_an_unbound_socket_cannot_listen(run):
    code = "import socket\ns = socket.socket()\ns.listen()"
    assert b"PermissionError" in (await run(code, network=Network.LOOPBACK)).stderr


async def test_low_ports_cannot_be_taken(run):
    code = "import socket\nsocket.create_server(('127.0.0.1', 879))"
    assert b"PermissionError" in (await run(code, network=Network.LOOPBACK)).stderr


async def test_datagrams_stay_closed(run, server):
    code = "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
    result = await run(code, network=Network.loopback(server, own_servers=True))
    assert b"PermissionError" in result.stderr


async def test_node_serves_and_fetches(run):
    code = (
        "const http = require('http');"
        "const s = http.createServer((q, r) => r.end('hello')).listen(0, () =>"
        "http.get({port: s.address().port, host: '127.0.0.1'}, r => { r.on('data', d =>"
        "console.log(String(d))); r.on('end', () => s.close()); }));"
    )
    result = await run(["node", "-e", code], network=Network.LOOPBACK)
    assert result.stdout == b"hello\n", result.output


async def test_unix_sockets_work_inside_the_tree(run):
    code = """
import os, socket, threading
server = socket.socket(socket.AF_UNIX)
server.bind("own.sock")
server.listen()
threading.Thread(target=lambda: server.accept()[0].sendall(b"hello")).start()
for name in ("own.sock", os.path.abspath("own.sock"))[:1]:
    client = socket.socket(socket.AF_UNIX)
    client.connect(name)
    print(client.recv(5))
"""
    assert (await run(code)).stdout == b"b'hello'\n"


async def test_a_connection_that_waits_does_not_hold_up_other_calls(run):
    code = """
import os, socket, threading, time
server = socket.socket(socket.AF_UNIX)
server.bind("own.sock")
server.listen(0)
def fill():
    for _ in range(4):
        client = socket.socket(socket.AF_UNIX)
        client.connect("own.sock")
for _ in range(3):
    threading.Thread(target=fill, daemon=True).start()
time.sleep(0.3)
open("file", "w").close()
began = time.monotonic()
os.chmod("file", 0o600)
print(time.monotonic() - began < 1, flush=True)
os._exit(0)
"""
    assert (await run(code)).stdout == b"True\n"


async def test_the_interpreter_is_the_servers_own(run):
    assert (await run("import sys; print(sys.prefix)")).stdout.decode().strip() == sys.prefix
