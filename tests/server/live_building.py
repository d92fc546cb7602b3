"""A real server on loopback with a real log, and clients that follow it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect

from quarterdeck.core.clock import SystemClock, iso
from quarterdeck.core.events import Event, EventType
from quarterdeck.engine.context import Resources
from quarterdeck.engine.engine import Engine
from quarterdeck.server import live_uvicorn
from quarterdeck.server.asgi import create_app
from quarterdeck.server.deps import Desk
from quarterdeck.server.live_socket import Room, room_of
from quarterdeck.storage.bus import Bus
from quarterdeck.storage.log import Commit
from tests.engine.building import engine_at

TOKEN = "the-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Installation:
    """A served log: say what happens, and open sockets."""

    def __init__(self, app: FastAPI, engine: Engine, port: int) -> None:
        self.app = app
        self.engine = engine
        self.address = f"127.0.0.1:{port}"

    @property
    def room(self) -> Room:
        return room_of(self.app)

    async def happen(self, *missions: str | None, workspace: str = "default", **data: Any) -> int:
        """One event for each named mission, durable; the last place in the log."""
        at = iso(SystemClock().now())
        events = [
            Event(EventType.STEP_PROGRESSED, at, workspace, "system", mission, "s1", data)
            for mission in missions
        ]
        return await self.engine.log.commit(Commit(events))

    def take_the_token_back(self) -> None:
        self.app.state.desk = replace(self.app.state.desk, token="another")

    def open(
        self, path: str = "/api/live", headers: Mapping[str, str] = BEARER, **more: Any
    ) -> connect:
        return connect(f"ws://{self.address}{path}", additional_headers=headers, proxy=None, **more)


async def _nothing() -> dict[str, Any]:
    return {}


@asynccontextmanager
async def served(
    root: Path, *, direct: bool = True, port: int = 0, **more: Any
) -> AsyncIterator[Installation]:
    """The live routes over the files at `root`; `direct` is uvicorn's wire, else plain ASGI.

    `more` are settings of uvicorn.
    """
    async with engine_at(root) as engine:
        desk = Desk(
            engine=engine,
            recipes={},
            resources=Resources(),
            bus=Bus(engine.log),
            workspace="default",
            token=TOKEN,
            health=_nothing,
            models=_nothing,
        )
        app = create_app(desk, (), report=print)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        settings = {**live_uvicorn.SETTINGS, **more}
        if not direct:
            settings["ws"] = "websockets-sansio"
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2, **settings)
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listener]))
            while not server.started:
                await asyncio.sleep(0.005)
            try:
                yield Installation(app, engine, listener.getsockname()[1])
            finally:
                server.should_exit = True


async def heard(socket: ClientConnection, kind: str | None = None) -> dict[str, Any]:
    """The next message, or the next of a kind."""
    async with asyncio.timeout(10):
        while True:
            message = json.loads(await socket.recv())
            if kind in {None, message["type"]}:
                return message


async def heard_up_to(socket: ClientConnection, seq: int) -> list[dict[str, Any]]:
    """The events until one of them has this place."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["seq"] < seq:
        found += (await heard(socket, "events"))["events"]
    return found


def places(events: Iterable[Mapping[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]
