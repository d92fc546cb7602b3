"""Streams: time to the first delta at 100 at once, and CPU for each delta, over real HTTP.

Every stream is a mission of its own: submitted durably, run by the engine, told by a scripted
model through the gateway, stored, and read by a client in another process. `first_chunk_ms_p95` is
from the request to the first `text-delta`, two commits to the disk included, streams beginning
30 ms apart; `burst_ms_p95` the same with all at one instant. `cpu_us_per_delta` is what streaming
adds: CPU of the server while 100 models speak, less that of the same missions when what they say
goes nowhere (`model_us_per_delta`: timers, gateway, engine). `commit_ms_p95` is what the disk takes
for one commit meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import uvicorn

from quarterdeck.core.clock import SystemClock
from quarterdeck.core.plan import Plan, StepSpec
from quarterdeck.core.step import Done, Effect, StepKind
from quarterdeck.engine.context import Resources, StepContext
from quarterdeck.engine.engine import Engine
from quarterdeck.engine.recipes import Recipe
from quarterdeck.llm.chunk_rules import Conformance
from quarterdeck.llm.chunks import OPENED, chunks
from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import Answer, Embeddings, Message, ModelRef, Piece, Request
from quarterdeck.llm.streamed import streamed
from quarterdeck.server.asgi import create_app
from quarterdeck.server.deps import Desk
from quarterdeck.server.streams import Streams
from quarterdeck.storage.bus import Bus
from quarterdeck.storage.chunks import TABLES, ChunkLog
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log

if TYPE_CHECKING:
    from decimal import Decimal

GOALS = {"first_chunk_ms_p95": 25, "burst_ms_p95": 25, "cpu_us_per_delta": 30}
TOKEN = "bench"  # noqa: S105 - of a server that lives for a minute on loopback
MODEL = ModelRef("scripted", "talker")


@dataclass
class Scripted:
    """A provider that says a word every so often; `seed` of the request is the pause in ms."""

    name: str = "scripted"
    local: bool = True
    concurrency: int = 1000
    host_rate: Decimal | None = None
    price_id: str | None = None

    async def prepare(self) -> None:
        """Nothing to do."""

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Answer]:
        """`max_tokens` words."""
        for number in range(request.max_tokens):
            yield Piece(f"word{number} ")
            await asyncio.sleep((request.seed or 0) / 1000)
        yield Answer("talker", "stop", 1, request.max_tokens, None, None, None)

    async def embed(self, name: str, texts: Sequence[str]) -> Embeddings:
        """Not asked for here."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Nothing to do."""


async def _talk(context: StepContext) -> Done:
    given = context.mission.constraints
    request = Request(
        MODEL,
        (Message("user", context.mission.brief),),
        max_tokens=given["words"],
        seed=given["pause_ms"],
    )
    parts = context.get(Gateway).stream(request, purpose="bench")
    reply = await streamed(parts, context.stream if given["told"] else _unheard)
    return Done({"words": reply.output_tokens})


def _unheard(_chunk: object) -> None:
    pass


async def _health() -> dict[str, object]:
    return {}


async def serve(root: Path) -> None:
    """The server's process: prints its port and serves until it is stopped."""
    directory = DataDirectory(root)
    directory.create()
    log = Log(Database(directory.journal), tables=TABLES)
    resources = Resources(Gateway([Scripted()], on_usage=lambda _usage: None))
    engine = Engine(
        log, directory, [StepKind("talk", _talk, Effect.IDEMPOTENT)], resources=resources
    )
    streams = Streams(log, ChunkLog(log, clock=engine.clock, report=print), report=print)
    resources.add(streams)
    resources.on_stream = streams.say
    streams.start()
    await engine.start()
    plan = Plan(recipe="talk", steps=(StepSpec(id="talk", kind="talk"),))
    desk = Desk(
        engine=engine,
        recipes={"talk": Recipe("talk", 1, "Talks.", plan)},
        resources=resources,
        bus=Bus(log),
        workspace="default",
        token=TOKEN,
        health=_health,
        models=_health,
    )
    config = uvicorn.Config(create_app(desk, (), report=print), port=0, log_level="error")
    server = uvicorn.Server(config)
    serving = asyncio.get_running_loop().create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells no other way
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await serving


@contextlib.asynccontextmanager
async def _server(root: Path) -> AsyncGenerator[tuple[int, psutil.Process]]:
    command = [sys.executable, "-m", "benchmarks.stream", "--serve", str(root)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield port, psutil.Process(process.pid)
    finally:
        process.kill()
        await process.wait()


async def _read(port: int, name: str, **given: object) -> tuple[float, bytes]:
    """Milliseconds to the first delta, and the whole body; a bare client, to leave CPU alone."""
    constraints = {"told": True, **given}
    body = json.dumps(
        {"id": name, "prompt": "Talk.", "recipe": "talk", "constraints": constraints}
    ).encode()
    head = (
        f"POST /api/stream HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {TOKEN}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    begun_s = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + body)
    first_ms, held = 0.0, bytearray()
    while part := await reader.read(65536):
        held += part
        if not first_ms and b'"text-delta"' in held:
            first_ms = 1000 * (time.perf_counter() - begun_s)
    writer.close()
    return first_ms, bytes(held)


def _check(raw: bytes, words: int) -> None:
    """No protocol error, and every word, in order."""
    framed = raw.partition(b"\r\n\r\n")[2]
    body = bytearray()
    while framed:
        size, _, rest = framed.partition(b"\r\n")
        body += rest[: int(size, 16)]
        framed = rest[int(size, 16) + 2 :]
    sent = chunks(bytes(body))
    Conformance().check_all(sent)
    text = "".join(chunk["delta"] for chunk in sent if chunk["type"] == "text-delta")
    assert text == "".join(f"word{number} " for number in range(words)), text


async def _first(port: int, name: str, streams: int, gap_s: float, **given: int) -> float:
    async def one(number: int) -> float:
        await asyncio.sleep(number * gap_s)
        first_ms, raw = await _read(port, f"{name}{number}", **given)
        _check(raw, given["words"])
        return first_ms

    waits = await asyncio.gather(*(one(number) for number in range(streams)))
    return round(sorted(waits)[int(len(waits) * 0.95)], 2)


async def _cpu(
    port: int, process: psutil.Process, name: str, streams: int, **given: object
) -> float:
    """Server CPU, in µs, for each delta."""
    before = process.cpu_times()
    raws = await asyncio.gather(
        *(_read(port, f"{name}{number}", **given) for number in range(streams))
    )
    after = process.cpu_times()
    words = int(str(given["words"]))
    if given.get("told", True):
        for _, raw in raws:
            _check(raw, words)
    spent_s = after.user + after.system - before.user - before.system
    return round(1e6 * spent_s / (streams * words), 1)


async def _commit(root: Path) -> float:
    """The 95th percentile, in ms, of one small durable commit alone, on this disk now."""
    db = Database(root)
    log = Log(db, tables=TABLES)
    kept = ChunkLog(log, clock=SystemClock(), report=print)
    stream = kept.create(("bench", "commit"))
    waits: list[float] = []
    for _ in range(100):
        begun_s = time.perf_counter()
        kept.append(stream, [OPENED])
        await kept.flush()
        waits.append(1000 * (time.perf_counter() - begun_s))
    await log.close()
    db.close()
    return round(sorted(waits)[95], 2)


async def measure(streams: int, rounds: int) -> dict[str, float]:
    """All figures; each the median of the rounds."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="quarterdeck-bench-") as folder:
        async with _server(Path(folder)) as (port, process):
            await _first(port, "warm", 10, 0.0, words=5, pause_ms=5)
            found["commit_ms_p95"] = [await _commit(Path(folder) / "plain.db")]
            for number in range(rounds):
                calm = await _first(port, f"a{number}-", streams, 0.03, words=100, pause_ms=50)
                burst = await _first(port, f"b{number}-", streams, 0.0, words=50, pause_ms=50)
                told = await _cpu(port, process, f"c{number}-", streams, words=300, pause_ms=20)
                plain = await _cpu(
                    port, process, f"d{number}-", streams, words=300, pause_ms=20, told=False
                )
                for name, value in (
                    ("first_chunk_ms_p95", calm),
                    ("burst_ms_p95", burst),
                    ("cpu_us_per_delta", round(told - plain, 1)),
                    ("model_us_per_delta", plain),
                ):
                    found.setdefault(name, []).append(value)
    return {name: sorted(values)[len(values) // 2] for name, values in found.items()}


def met(figures: dict[str, float]) -> bool:
    """Whether the figures reach the goals; nothing else is compared."""
    return all(figures[name] <= goal for name, goal in GOALS.items())


def main() -> None:
    """Print a table and, last, one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=Path, help="be the server, with its data here")
    given = parser.parse_args()
    if given.serve is not None:
        asyncio.run(serve(given.serve))
        return
    figures = asyncio.run(measure(given.streams, given.rounds))
    for name, value in figures.items():
        print(f"{name:>22}  {value:>10}  goal {GOALS.get(name, '-')}")
    result = {"bench": "stream", "figures": figures, "goals": GOALS, "peers": {}}
    print(json.dumps({**result, "met": met(figures)}))


if __name__ == "__main__":
    main()
