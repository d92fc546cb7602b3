"""Event to client: how soon 1,000 WebSocket clients have an event, and whether any is ever lost.

The server is a whole installation in a process of its own, the clients are in another. An event
carries the monotonic moment (one clock for the machine) at which it was given to the log, so its
time holds the fsync, the fan-out and the way to the client.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

GOALS = {"event_ms_p95": 50, "lost": 0, "duplicated": 0}
EVENT = re.compile(rb'\{"seq":(\d+),"type":"step.progressed".*?"stamp_ns":(\d+)')
EVENTS_PER_S = 20
RECONNECTING = 100
FOREVER = 1 << 62
PATIENCE_S = 120.0


class Server:
    """The server's process, told what to do over its standard input."""

    def __init__(self, root: Path, wire: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._live_server", str(root), wire],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started = self._answer()
        self.port, self.token = started["port"], started["token"]
        self.spent: dict | None = None

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        assert line, "the server ended"
        return json.loads(line)

    def emit(self, events: int, per_s: float) -> None:
        """Let events happen; `spent` tells when they have, and what it cost."""
        self.spent = None
        self._process.stdin.write(f"{events} {per_s}\n")
        self._process.stdin.flush()
        threading.Thread(target=self._finish).start()

    def _finish(self) -> None:
        self.spent = self._answer()

    def stop(self) -> None:
        """Stop the server."""
        self._process.stdin.close()
        self._process.wait(30)


class Client:
    """A WebSocket client that does no more than find the places and moments of the events.

    A frame that many clients get is looked at once, and there is no event loop: what the clients
    need for themselves shall not pass for the server's time.
    """

    def __init__(self, server: Server, seen: dict[bytes, tuple], after: int | None = None) -> None:
        self.places: list[int] = []
        self.waits_ns: list[int] = []
        self.live = False
        self._seen = seen
        self._rest = b""
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.sendall(_handshake(server, after))

    def ready(self) -> bool:
        """Read what is there; False when the connection is over."""
        data = self.socket.recv(1 << 18)
        now_ns = time.monotonic_ns()
        known = None if self._rest else self._seen.get(data)
        if known is None:
            data = self._rest + data
            known = _look(data)
            if not self._rest:
                self._seen[data] = known
        places, moments, live, self._rest = known
        self.places += places
        self.waits_ns += [now_ns - moment for moment in moments]
        self.live = self.live or live
        return bool(data)


def _handshake(server: Server, after: int | None) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    query = "" if after is None else f"?after={after}"
    return (
        f"GET /api/live{query} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    ).encode()


def _look(data: bytes) -> tuple[list[int], list[int], bool, bytes]:
    """The places and moments in what came, whether it says live, and what is not whole yet."""
    if data.startswith(b"HTTP"):
        head, found, rest = data.partition(b"\r\n\r\n")
        assert b" 101 " in head, head
        return _look(rest) if found else ([], [], False, data)
    places: list[int] = []
    moments: list[int] = []
    live = False
    while (cut := _frame(data)) is not None:
        payload, data = cut
        live = live or payload.startswith(b'{"type":"live"')
        for place, moment in EVENT.findall(payload):
            places.append(int(place))
            moments.append(int(moment))
    return places, moments, live, data


def _frame(data: bytes) -> tuple[bytes, bytes] | None:
    """The first whole frame of what came, and the rest."""
    if len(data) < 10:
        return None if len(data) < 2 or len(data) < 2 + data[1] else (data[2:], b"")
    size, start = data[1], 2
    if size == 126:
        size, start = struct.unpack("!H", data[2:4])[0], 4
    elif size == 127:
        size, start = struct.unpack("!Q", data[2:10])[0], 10
    whole = start + size
    return (data[start:whole], data[whole:]) if len(data) >= whole else None


def _watch(poll: select.epoll, clients: dict[int, Client], until: Callable[[], bool]) -> None:
    """Let the clients read until `until` says that it is enough."""
    end_s = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < end_s, "it takes too long"
        for fd, _ in poll.poll(0.01):
            assert clients[fd].ready(), "the server closed a connection"


def latency(server: Server, count: int, seconds: float) -> dict[str, float]:
    """How soon the clients have the events, and what one event to one client costs the server."""
    poll, seen = select.epoll(), {}
    clients: dict[int, Client] = {}
    for _ in range(count):
        client = Client(server, seen)
        clients[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLIN)
    _watch(poll, clients, lambda: all(client.live for client in clients.values()))
    server.emit(int(EVENTS_PER_S * seconds), EVENTS_PER_S)
    _watch(poll, clients, lambda: _have_all(server, clients.values()))
    waits = sorted(wait / 1e6 for client in clients.values() for wait in client.waits_ns)
    durable = sorted(server.spent["durable_ms"])
    for client in clients.values():
        client.socket.close()
    return {
        "clients": count,
        "deliveries": len(waits),
        "durable_ms_p95": round(_quantile(durable, 0.95), 2),
        "event_ms_p50": round(_quantile(waits, 0.5), 2),
        "event_ms_p95": round(_quantile(waits, 0.95), 2),
        "event_ms_p99": round(_quantile(waits, 0.99), 2),
        "cpu_us_per_delivery": round(1e6 * server.spent["cpu_s"] / len(waits), 1),
    }


def _have_all(server: Server, clients: Iterable[Client]) -> bool:
    if server.spent is None:
        return False
    last = server.spent["last"]
    return all(client.places and client.places[-1] >= last for client in clients)


def _quantile(values: list[float], share: float) -> float:
    return values[int(len(values) * share)]


class Restless:
    """A client that loses its connection again and again, and all that it has seen."""

    def __init__(self, server: Server, start: int) -> None:
        self.places = [start]
        self.reconnects = -1
        self._server = server
        self._client: Client | None = None
        self._ends_s = 0.0

    def step(self, poll: select.epoll, clients: dict[int, Client], goal: int) -> bool:
        """Cut the connection when its time has come; whether all is seen up to `goal`."""
        now_s = time.monotonic()
        if self._client is not None and (now_s >= self._ends_s or self._seen() >= goal):
            self.places += self._client.places
            del clients[self._client.socket.fileno()]
            poll.unregister(self._client.socket)
            self._client.socket.close()
            self._client = None
        if self.places[-1] >= goal:
            return True
        if self._client is None:
            self._client = Client(self._server, {}, self.places[-1])
            self._ends_s = now_s + random.uniform(0.05, 3)  # noqa: S311 - not a secret
            self.reconnects += 1
            clients[self._client.socket.fileno()] = self._client
            poll.register(self._client.socket, select.EPOLLIN)
        return False

    def _seen(self) -> int:
        return self._client.places[-1] if self._client and self._client.places else -1


def reconnects(server: Server, count: int, seconds: float) -> dict[str, int]:
    """What clients have seen in the end whose connections were cut at random moments."""
    server.emit(1, 1)
    while server.spent is None:
        time.sleep(0.05)
    start = server.spent["last"]
    poll, clients = select.epoll(), {}
    people = [Restless(server, start) for _ in range(count)]

    def over() -> bool:
        goal = FOREVER if server.spent is None else server.spent["last"]
        # Each takes its step, so no short cut.
        return sum(one.step(poll, clients, goal) for one in people) == count

    server.emit(int(200 * seconds), 200)
    _watch(poll, clients, over)
    whole = set(range(start, server.spent["last"] + 1))
    return {
        "reconnects": sum(one.reconnects for one in people),
        "lost": sum(len(whole - set(one.places)) for one in people),
        "duplicated": sum(b <= a for one in people for a, b in pairwise(one.places)),
    }


def measure(clients: int, seconds: float, wire: str) -> dict[str, float]:
    """All figures of one run."""
    with tempfile.TemporaryDirectory(prefix="quarterdeck-bench-") as folder:
        server = Server(Path(folder), wire)
        try:
            figures = latency(server, clients, seconds)
            return figures | reconnects(server, min(clients, RECONNECTING), seconds)
        finally:
            server.stop()


def met(figures: dict[str, float]) -> bool:
    """Whether the figures reach the goals; nothing else is compared."""
    return all(figures[name] <= goal for name, goal in GOALS.items())


def main() -> None:
    """Print a table and, last, one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--wire", choices=("direct", "asgi"), default="direct")
    given = parser.parse_args()
    figures = measure(given.clients, given.seconds, given.wire)
    for name, value in figures.items():
        print(f"{name:>22}  {value:>10}  goal {GOALS.get(name, '-')}")
    result = {"bench": "live", "figures": figures, "goals": GOALS, "peers": {}}
    print(json.dumps({**result, "met": met(figures)}))


if __name__ == "__main__":
    main()
