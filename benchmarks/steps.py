"""Durable steps per second: 200 missions of six steps, each with 2 KB of output.

Counted from the reopened database, with fsync before every acknowledgement.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sqlite3
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from quarterdeck.core.clock import SystemClock, iso
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Plan, StepSpec
from quarterdeck.core.step import Answer, Choice, Done, Effect, StepKind, Wait
from quarterdeck.engine.collector import calm_collector
from quarterdeck.engine.engine import Engine
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quarterdeck.engine.context import StepContext
    from quarterdeck.storage.log import Commit

GOALS = {"steps_per_s": 10_000, "cpu_ms_per_step": 0.1, "approval_ms_p95": 20}
PAYLOAD = {"text": "".join(chr(97 + i * 7 % 26) for i in range(2000)), "passed": True}
STEPS = 6


async def _work(_context: StepContext) -> Done:
    return Done(PAYLOAD)


async def _ask(context: StepContext) -> Done | Wait:
    if context.answers:
        return Done({"choice": context.answers[-1].choice})
    return Wait("Go on?", (Choice("yes", "Go on"), Choice("no", "Stop")))


KINDS = (
    StepKind("work", _work, Effect.IDEMPOTENT),
    StepKind("ask", _ask, Effect.IDEMPOTENT),
)
CHAIN = Plan(
    recipe="bench",
    steps=tuple(
        StepSpec(id=f"s{i}", kind="work", needs=(f"s{i - 1}",) if i else ()) for i in range(STEPS)
    ),
)
PARKED = Plan(
    recipe="bench",
    steps=(
        StepSpec(id="ask", kind="ask"),
        StepSpec(id="work", kind="work", needs=("ask",)),
    ),
)


@asynccontextmanager
async def _engine(root: Path) -> AsyncIterator[Engine]:
    directory = DataDirectory(root)
    directory.create()
    db = Database(directory.journal)
    log = Log(db)
    engine = Engine(log, directory, KINDS)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
        await log.close()
        db.close()


def _mission(name: str) -> Mission:
    return Mission(
        id=name,
        workspace="default",
        brief="bench",
        created_by="user:owner",
        created_at=iso(SystemClock().now()),
    )


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


async def throughput(root: Path, missions: int) -> dict[str, float]:
    """Steps per second and CPU per step, counted from the reopened database."""
    async with _engine(root) as engine:
        cpu, wall = time.process_time(), time.perf_counter()
        names = [f"m{i}" for i in range(missions)]
        await asyncio.gather(*(engine.submit(_mission(n), CHAIN) for n in names))
        await asyncio.gather(*(engine.ended(("default", n)) for n in names))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with sqlite3.connect(root / "journal.db") as reopened:
        finished = reopened.execute(
            "SELECT body FROM event WHERE type = 'step.finished'"
        ).fetchall()
    steps = len(finished)
    assert steps == missions * STEPS, f"{steps} steps are durable"
    assert all(orjson.loads(body)["data"]["outputs"] == PAYLOAD for (body,) in finished)
    return {"steps_per_s": round(steps / wall), "cpu_ms_per_step": round(1000 * cpu / steps, 4)}


async def commit_latency(root: Path, missions: int) -> float:
    """The 95th percentile, in ms, from a step's result to its acknowledgement, under load."""
    waits: list[float] = []
    async with _engine(root) as engine:
        keep = engine.log.keep

        def timed(record: Commit) -> asyncio.Future[int]:
            start_s = time.perf_counter()
            told = keep(record)
            told.add_done_callback(lambda _: waits.append(1000 * (time.perf_counter() - start_s)))
            return told

        engine.log.keep = timed
        names = [f"m{i}" for i in range(missions)]
        await asyncio.gather(*(engine.submit(_mission(n), CHAIN) for n in names))
        await asyncio.gather(*(engine.ended(("default", n)) for n in names))
    return round(_p95(waits), 2)


async def approvals(root: Path, parked: int, answers: int) -> float:
    """The 95th percentile, in ms, from an approval to the durable end of the next step."""
    async with _engine(root) as engine:
        names = [f"p{i}" for i in range(parked)]
        for start in range(0, parked, 500):
            batch = names[start : start + 500]
            await asyncio.gather(*(engine.submit(_mission(n), PARKED) for n in batch))
        await asyncio.gather(*(engine.idle(("default", n)) for n in names))
        waits = []
        for name in names[:: max(1, parked // answers)][:answers]:
            key = ("default", name)
            start_s = time.perf_counter()
            await engine.answer(key, "ask", Answer("yes", "user:owner", iso(engine.clock.now())))
            await engine.ended(key)
            waits.append(1000 * (time.perf_counter() - start_s))
    return round(_p95(waits), 2)


async def measure(missions: int, parked: int, rounds: int) -> dict[str, float]:
    """All figures; throughput is the median round."""
    with tempfile.TemporaryDirectory(prefix="quarterdeck-bench-") as folder:
        root = Path(folder)
        runs = [await throughput(root / f"t{i}", missions) for i in range(rounds)]
        middle = sorted(runs, key=lambda run: run["steps_per_s"])[len(runs) // 2]
        latency = await commit_latency(root / "latency", missions)
        rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        approval = await approvals(root / "approvals", parked, 200)
    return {
        **middle,
        "step_commit_ms_p95": latency,
        "approval_ms_p95": approval,
        "rss_mb": round(rss_mb, 1),
    }


def met(figures: dict[str, float]) -> bool:
    """Whether the figures reach the goals; nothing else is compared."""
    return (
        figures["steps_per_s"] >= GOALS["steps_per_s"]
        and figures["cpu_ms_per_step"] <= GOALS["cpu_ms_per_step"]
        and figures["approval_ms_p95"] <= GOALS["approval_ms_p95"]
    )


def main() -> None:
    """Print a table and, last, one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missions", type=int, default=200)
    parser.add_argument("--parked", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    calm_collector()  # as the server does
    figures = asyncio.run(measure(given.missions, given.parked, given.rounds))
    for name, value in figures.items():
        print(f"{name:>22}  {value:>10}  goal {GOALS.get(name, '-')}")
    result = {"bench": "steps", "figures": figures, "goals": GOALS, "peers": {}}
    print(json.dumps({**result, "met": met(figures)}))


if __name__ == "__main__":
    main()
