"""Step `sandbox`: the mission's isolated tree on a branch of its own (ORC-6)."""

from __future__ import annotations

from quarterdeck.core.step import Done
from quarterdeck.engine.context import StepContext
from quarterdeck.features.coding.git.mirror import Mirror
from quarterdeck.features.coding.git.sandbox import Sandbox, create, find, remove
from quarterdeck.features.coding.git.snapshot import snapshot
from quarterdeck.features.coding.wiring import Coding


async def sandbox(ctx: StepContext) -> Done:
    """Make the sandbox; a mission that was taken back begins again at its base."""
    coding = ctx.get(Coding)
    mirror = await coding.mirror(ctx.mission)
    base = str(ctx.outputs["target"]["base_sha"])
    path = coding.sandbox_path(ctx.mission)
    made = await create(mirror, ctx.mission.id, base, path)
    if ctx.round > 1:
        made = await _begin_again(ctx, mirror, made)
    return Done({"path": str(made.path), "branch": made.branch, "base_sha": made.base})


async def mission_sandbox(ctx: StepContext) -> Sandbox:
    """The sandbox that step `sandbox` made; raises NotFound when it is gone."""
    return await find(await ctx.get(Coding).mirror(ctx.mission), ctx.mission.id)


async def as_snapshot(made: Sandbox) -> Sandbox:
    """The sandbox with the files of its last snapshot; whatever else was in it is dropped."""
    await remove(made, discard=True)
    return await create(made.mirror, made.mission_id, made.base, made.path)


async def _begin_again(ctx: StepContext, mirror: Mirror, made: Sandbox) -> Sandbox:
    """Keep what an earlier round did under a pin, then put the branch back to the base."""
    pin = f"round-{ctx.round - 1}"
    kept = await snapshot(made, f"Keep round {ctx.round - 1}", at=ctx.clock.now())
    if kept.commit != made.base:
        await mirror.pin(ctx.mission.id, kept.commit, name=pin)
    await mirror.set_ref(made.ref, made.base)
    return await as_snapshot(made)
