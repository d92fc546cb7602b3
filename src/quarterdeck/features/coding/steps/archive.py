"""Step `archive`: keep the whole history, take the sandbox away (ORC-11, DOC-2)."""

from __future__ import annotations

import asyncio
import shutil

import orjson

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.events import Json
from quarterdeck.core.step import Done
from quarterdeck.engine.context import StepContext
from quarterdeck.features.coding.git.tree import export_zip
from quarterdeck.features.coding.steps.sandbox import taken_away
from quarterdeck.features.coding.steps.standing import promotion
from quarterdeck.features.coding.wiring import Coding

EVENTS_PAGE = 1000


async def archive(ctx: StepContext) -> Done:
    """Store the execution log and the final build; remove the sandbox of what was promoted.

    A sandbox whose work was not promoted stays, for whoever wants to go on from it.
    """
    promoted = promotion(ctx.outputs)
    await _store_log(ctx)
    removed = False
    if promoted:
        await _store_build(ctx, str(promoted["commit"]))
        removed = await _removed(ctx)
    await asyncio.to_thread(shutil.rmtree, ctx.work_dir, ignore_errors=True)
    outcome = None if promoted else _outcome(ctx)
    return Done({"sandbox_removed": removed, **({"outcome": outcome} if outcome else {})})


async def _removed(ctx: StepContext) -> bool:
    """Take the sandbox away; what was changed in it after the proof is kept under a pin."""
    try:
        await taken_away(ctx, "left-over")
    except QuarterdeckError as error:
        ctx.progress(f"The sandbox stays, because it holds what cannot be kept: {error}")
        return False
    return True


def _outcome(ctx: StepContext) -> str:
    words = [outputs.get("outcome") for outputs in ctx.outputs.values()]
    return next((str(word) for word in reversed(words) if word), "rejected")


async def _store_log(ctx: StepContext) -> None:
    log, mission = ctx.get(Coding).log, ctx.mission
    entries: list[dict[str, Json]] = []
    after = 0
    while page := await log.read(
        after=after, workspace=mission.workspace, mission=mission.id, limit=EVENTS_PAGE
    ):
        after = page[-1].seq
        entries.extend(
            {
                "seq": one.seq,
                "type": one.event.type.value,
                "at": one.event.at,
                "actor": one.event.actor,
                "step": one.event.step,
                "data": one.event.data,
            }
            for one in page
        )
    document = {"mission_id": mission.id, "events": entries}
    await ctx.store(
        "execution_log.json",
        orjson.dumps(document, option=orjson.OPT_INDENT_2),
        path=f"mission_briefs/{mission.id}/execution_log/execution_log.json",
    )


async def _store_build(ctx: StepContext, commit: str) -> None:
    mirror = await ctx.get(Coding).mirror(ctx.mission)
    place = ctx.work_dir / "final_build.zip"
    await asyncio.to_thread(ctx.work_dir.mkdir, 0o700, True, True)
    await asyncio.to_thread(place.unlink, missing_ok=True)
    await export_zip(mirror, commit, place)
    await ctx.store(
        "final_build.zip",
        await asyncio.to_thread(place.read_bytes),
        media_type="application/zip",
        path=f"prototypes/{ctx.mission.id}/final_build.zip",
    )
