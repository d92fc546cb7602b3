"""Step `rebase`: put a proved change on the target as it is now, to be proved again (ORC-11)."""

from __future__ import annotations

from dataclasses import asdict

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.step import Choice, Done, Outcome, Wait
from quarterdeck.engine.context import StepContext
from quarterdeck.features.coding.git import commits
from quarterdeck.features.coding.git.diff import diff
from quarterdeck.features.coding.git.mirror import Branch, Mirror, mission_branch
from quarterdeck.features.coding.git.promote import preview
from quarterdeck.features.coding.git.sandbox import create
from quarterdeck.features.coding.steps.sandbox import taken_away
from quarterdeck.features.coding.wiring import Coding

AGAIN = Choice("again", "Try it again on the target as it is by then")
REJECT = Choice("reject", "Leave it unpromoted")
REDO = "To begin anew from the target as it is now, re-run the mission from its step `target`."


async def rebase(ctx: StepContext) -> Outcome:
    """Merge the target's tip into the mission; a conflict asks and changes nothing.

    The argument `commit` is the proved commit. What stands in the sandbox beyond it is kept under
    a pin of its own and is no part of the change.
    """
    if ctx.answers and ctx.answers[-1].choice == REJECT.id:
        return Done({"rejected": True, "outcome": "rejected"})
    mirror = await ctx.get(Coding).mirror(ctx.mission)
    proved = str(ctx.step.args["commit"])
    try:
        branch = await mirror.branch(str(ctx.outputs["target"]["branch"]))
        merged = await preview(mirror, branch.tip, proved)
        problem = await _problem(mirror, branch, merged.tree, merged.conflicts)
        if problem is None:
            await taken_away(ctx, f"before-{ctx.step.id}")
    except QuarterdeckError as error:
        problem = str(error)
    else:
        if problem is None:
            return Done(await _moved(ctx, mirror, branch, proved, merged.tree))
    return Wait(f"It cannot be put on the target as it is now: {problem}", (AGAIN, REJECT))


async def _problem(
    mirror: Mirror, branch: Branch, tree: str, conflicts: tuple[str, ...]
) -> str | None:
    if conflicts:
        names = ", ".join(conflicts[:10])
        return f"the mission and {branch.name} changed the same places: {names}. {REDO}"
    if tree == await mirror.tree_of(branch.tip):
        return f"{branch.name} already has all that the mission changed."
    return None


async def _moved(
    ctx: StepContext, mirror: Mirror, branch: Branch, proved: str, tree: str
) -> dict[str, object]:
    text = commits.message(
        f"Take in {branch.name}", "", [("Mission-Id", ctx.mission.id), ("Proved", proved)]
    )
    content = commits.content(tree, [proved, branch.tip], text, at=ctx.clock.now())
    commit = await commits.write(mirror.git, content)
    await mirror.set_ref(f"refs/heads/{mission_branch(ctx.mission.id)}", commit)
    path = ctx.get(Coding).sandbox_path(ctx.mission)
    made = await create(mirror, ctx.mission.id, branch.tip, path)
    change = await diff(mirror, branch.tip, commit)
    patch = await ctx.store(f"{ctx.step.id}.diff", change.text.encode(), media_type="text/x-diff")
    return {
        "base_sha": branch.tip,
        "branch": branch.name,
        "commit": commit,
        "tree": tree,
        "path": str(made.path),
        "files": [asdict(file) for file in change.files],
        "stats": asdict(change.stats),
        "diff": patch.as_json(),
    }
