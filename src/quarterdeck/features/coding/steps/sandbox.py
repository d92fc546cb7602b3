"""Step `sandbox`: the mission's isolated tree on a branch of its own (ORC-6)."""

from __future__ import annotations

from pathlib import Path

from quarterdeck.core.errors import NotFound
from quarterdeck.core.step import Done
from quarterdeck.engine.context import StepContext
from quarterdeck.features.coding.git.mirror import mission_branch
from quarterdeck.features.coding.git.sandbox import Sandbox, create, find, remove, unkept_changes
from quarterdeck.features.coding.git.snapshot import snapshot
from quarterdeck.features.coding.wiring import Coding


async def sandbox(ctx: StepContext) -> Done:
    """Make the sandbox; a mission that was taken back begins again at its base."""
    coding = ctx.get(Coding)
    mirror = await coding.mirror(ctx.mission)
    base = str(ctx.outputs["target"]["base_sha"])
    path = coding.sandbox_path(ctx.mission)
    if ctx.round > 1:
        await taken_away(ctx, f"round-{ctx.round - 1}")
        await mirror.set_ref(f"refs/heads/{mission_branch(ctx.mission.id)}", base)
    made = await create(mirror, ctx.mission.id, base, path)
    return Done({"path": str(made.path), "branch": made.branch, "base_sha": made.base})


async def mission_sandbox(ctx: StepContext) -> Sandbox:
    """The sandbox that step `sandbox` made; raises NotFound when it is gone."""
    return await find(await ctx.get(Coding).mirror(ctx.mission), ctx.mission.id)


async def surviving_sandbox(ctx: StepContext) -> Sandbox:
    """The mission's sandbox; made anew where a death fell between taking it away and making it.

    Raises NotFound when it is gone for another reason.
    """
    try:
        return await mission_sandbox(ctx)
    except NotFound:
        if not ctx.interruptions:
            raise
    known = ctx.outputs["sandbox"]
    mirror = await ctx.get(Coding).mirror(ctx.mission)
    return await create(mirror, ctx.mission.id, str(known["base_sha"]), Path(str(known["path"])))


async def as_snapshot(made: Sandbox) -> Sandbox:
    """The sandbox with the files of its last snapshot; whatever else was in it is dropped."""
    await remove(made, discard=True)
    return await create(made.mirror, made.mission_id, made.base, made.path)


async def taken_away(ctx: StepContext, pin: str) -> None:
    """Take the sandbox away, if it is there, with all that it held kept under `pin`.

    The branch stays where it was. Raises TreeRefused or TooLarge when something in the sandbox
    cannot be kept; it is left as it is then.
    """
    try:
        made = await mission_sandbox(ctx)
    except NotFound:
        return
    tip = await made.mirror.commit_at(made.ref)
    kept = tip
    if await unkept_changes(made):
        kept = (await snapshot(made, "Keep what was in the sandbox", at=ctx.clock.now())).commit
    if kept is not None and kept != made.base:
        await made.mirror.pin(ctx.mission.id, kept, name=pin)
    if tip is not None and kept != tip:
        await made.mirror.set_ref(made.ref, tip)
    await remove(made, discard=True)
