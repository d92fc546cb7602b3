"""A server with an engine and streams on loopback, and a client that reads streams to their end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from quarterdeck.core.plan import Plan, StepSpec
from quarterdeck.core.step import Choice, Done, Effect, StepKind, Wait
from quarterdeck.engine.context import Resources, StepContext
from quarterdeck.engine.engine import Engine
from quarterdeck.engine.recipes import Recipe
from quarterdeck.llm import chunks
from quarterdeck.server.asgi import create_app
from quarterdeck.server.deps import Desk
from quarterdeck.server.streams import Streams
from quarterdeck.storage.bus import Bus
from quarterdeck.storage.chunks import TABLES, ChunkLog
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log

TOKEN = "a-token-of-these-tests"
QUESTION = Wait("Go on?", (Choice("promote", "Go on"), Choice("reject", "Stop")), digest="d1")

Handler = Callable[[StepContext], Any]


def recipe(name: str, *steps: dict[str, Any]) -> Recipe:
    specs = tuple(StepSpec(**{"kind": step["id"], **step}) for step in steps)
    return Recipe(name, 1, name, Plan(recipe=name, steps=specs))


def kind(name: str, run: Handler, **manners: Any) -> StepKind[StepContext]:
    return StepKind(name, run, manners.pop("effect", Effect.IDEMPOTENT), **manners)


async def speak(context: StepContext) -> Done:
    """Says three words, with the loop's leave between them."""
    for word in ("Hello", ", ", "world"):
        context.stream(chunks.text_delta("answer", word))
        await asyncio.sleep(0)
    context.progress("Said it.", fraction=1.0)
    return Done({"said": True})


async def ask(context: StepContext) -> Done | Wait:
    return Done({"choice": context.answers[-1].choice}) if context.answers else QUESTION


@dataclass
class House:
    """What a test may touch."""

    url: str
    engine: Engine
    streams: Streams
    kept: ChunkLog
    log: Log
    client: httpx2.AsyncClient
    reported: list[str] = field(default_factory=list)

    async def read(self, method: str, path: str, **more: Any) -> tuple[httpx2.Response, bytes]:
        async with self.client.stream(method, path, **more) as response:
            return response, await response.aread()

    async def chunks(self, method: str, path: str, **more: Any) -> list[chunks.Chunk]:
        response, body = await self.read(method, path, **more)
        assert response.status_code == 200, body
        return chunks.chunks(body)


@asynccontextmanager
async def house(
    root: Path, recipes: list[Recipe], kinds: list[StepKind[StepContext]]
) -> AsyncIterator[House]:
    reported: list[str] = []
    directory = DataDirectory(root)
    directory.create()
    db = Database(directory.journal)
    log = Log(db, tables=TABLES, on_error=reported.append)
    resources = Resources()
    engine = Engine(log, directory, kinds, resources=resources, report=reported.append)
    kept = ChunkLog(log, clock=engine.clock, report=reported.append)
    streams = Streams(log, kept, report=reported.append)
    resources.add(streams)
    resources.on_stream = streams.say
    streams.start()
    await engine.start()
    desk = Desk(
        engine=engine,
        recipes={one.name: one for one in recipes},
        resources=resources,
        bus=Bus(log),
        workspace="default",
        token=TOKEN,
        health=None,
        models=None,
    )
    app = create_app(desk, (), report=reported.append)
    try:
        async with served(app) as url:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=10) as client:
                yield House(url, engine, streams, kept, log, client, reported)
                streams.interrupt()
    finally:
        await engine.stop()
        await streams.close()
        await log.close()
        db.close()


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, timeout_graceful_shutdown=2, lifespan="off"
    )
    server = uvicorn.Server(config)
    server.capture_signals = _unsignalled  # the tests' own signal handlers stay
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@contextmanager
def _unsignalled():
    yield
