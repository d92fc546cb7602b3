"""The server of `benchmarks/live.py`: a whole installation that lets events happen when told.

It prints its address and token, then answers each line `EVENTS PER_S` with what that cost it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from pathlib import Path

import uvicorn

from quarterdeck.app import Orchestrator
from quarterdeck.core.clock import SystemClock, iso
from quarterdeck.core.events import Event, EventType, Recorded
from quarterdeck.server import live_uvicorn
from quarterdeck.settings import load_settings
from quarterdeck.storage.log import Commit, Log

MISSIONS = 50
TEXT = "".join(chr(97 + i * 7 % 26) for i in range(300))
SETTLE_S = 1.0
STARTS_S = 0.01


def _event(number: int) -> Event:
    data = {"stamp_ns": time.monotonic_ns(), "text": TEXT}
    at = iso(SystemClock().now())
    mission = f"mission-{number % MISSIONS}"
    return Event(EventType.STEP_PROGRESSED, at, "default", "system", mission, "step", data)


class Source:
    """Lets events happen, and hears when they are durable."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._durable_ms: list[float] = []
        log.listen(self._heard)

    def _heard(self, recorded: list[Recorded]) -> None:
        now_ns = time.monotonic_ns()
        self._durable_ms += [(now_ns - one.event.data["stamp_ns"]) / 1e6 for one in recorded]

    async def emit(self, events: int, per_s: float) -> dict[str, object]:
        """CPU time, the milliseconds until each event was durable, and the last place."""
        self._durable_ms = []
        cpu_s, start_s = time.process_time(), time.monotonic()
        for number in range(events):
            await asyncio.sleep(start_s + number / per_s - time.monotonic())
            self._log.append(Commit([_event(number)]))
        await self._log.commit(Commit())
        await asyncio.sleep(SETTLE_S)
        return {
            "cpu_s": time.process_time() - cpu_s,
            "durable_ms": self._durable_ms,
            "last": self._log.last_seq,
        }


async def serve(root: Path, wire: str) -> None:
    """Serve until the standard input ends."""
    settings = load_settings({"data_dir": root, "model_servers": []}, environment={})
    orchestrator = Orchestrator(settings)
    await orchestrator.activate()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    web_sockets = live_uvicorn.SETTINGS | ({"ws": "websockets-sansio"} if wire == "asgi" else {})
    server = uvicorn.Server(
        uvicorn.Config(orchestrator.asgi(), log_level="error", access_log=False, **web_sockets)
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(STARTS_S)
        _say({"port": listener.getsockname()[1], "token": orchestrator.token})
        source = Source(orchestrator.log)
        while line := await asyncio.to_thread(sys.stdin.readline):
            events, per_s = line.split()
            _say(await source.emit(int(events), float(per_s)))
        server.should_exit = True
    await orchestrator.close()


def _say(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("wire", choices=("direct", "asgi"))
    given = parser.parse_args()
    asyncio.run(serve(given.root, given.wire))
