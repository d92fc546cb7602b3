"""Step `verify`: prove the change from fresh checkouts, or say what to do next (ORC-9)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import orjson

from quarterdeck.core.clock import iso
from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.core.events import Json
from quarterdeck.core.plan import Patch, StepSpec
from quarterdeck.core.step import Choice, Done, Outcome, Wait
from quarterdeck.engine.context import StepContext
from quarterdeck.features.coding import override
from quarterdeck.features.coding.commands import Commands
from quarterdeck.features.coding.detect import detect, directory_tree, this_host
from quarterdeck.features.coding.git.mirror import Mirror
from quarterdeck.features.coding.git.tree import checkout_clean
from quarterdeck.features.coding.proof import Expectation, Proof
from quarterdeck.features.coding.reports import as_ctrf
from quarterdeck.features.coding.steps.implement import known_commands
from quarterdeck.features.coding.steps.standing import (
    base_sha,
    change_before,
    ordinal,
    proofs_since_base,
)
from quarterdeck.features.coding.steps.target import Trees, report_json
from quarterdeck.features.coding.testrun import Run, Standing, prove
from quarterdeck.features.coding.verify import Verification, Verified
from quarterdeck.features.coding.verify import verify as run_verification
from quarterdeck.features.coding.wiring import Coding

ROUNDS_BY_HAND_MAX = 20
REASONS_SHOWN = 20

STATE = Choice("state", "State the commands (data: the fields of quarterdeck.yaml)")
REJECT = Choice("reject", "Stop here and change nothing")


async def verify(ctx: StepContext) -> Outcome:
    """Prove what the last `implement` kept; a red proof adds the next round to the plan.

    Without a test command the mission is held with a question: it is never passed unproved.
    """
    change = change_before(ctx.step.needs, ctx.outputs)
    if change is None or ctx.answers and ctx.answers[-1].choice == REJECT.id:
        return Done({"rejected": True})
    mirror = await ctx.get(Coding).mirror(ctx.mission)
    try:
        commands = await _commands(ctx, mirror, str(change["commit"]))
    except (InvalidInput, TooLarge) as error:
        return Wait(f"These commands cannot be used: {error}", (STATE, REJECT))
    if commands is None:
        return Wait(
            "No command was found that tests this repository. How is it tested?", (STATE, REJECT)
        )
    verified = await _verified(ctx, mirror, commands, change)
    outputs = await _recorded(ctx, verified, commands, change)
    patch = None if verified.proof.passed else next_round(ctx)
    return Done(outputs, patch)


async def _commands(ctx: StepContext, mirror: Mirror, commit: str) -> Commands | None:
    """Commands stated just now, proved on the base, or found in what the change brought.

    What the change itself states (`quarterdeck.yaml`) does not count: it would choose its judge.
    """
    if ctx.answers and ctx.answers[-1].choice == STATE.id:
        return override.parse(orjson.dumps(ctx.answers[-1].data))
    known = known_commands(ctx)
    if known is not None:
        return known
    async with Trees(ctx, mirror, commit) as trees:
        looked = await trees.fresh()
        (looked.tree / override.NAME).unlink(missing_ok=True)
        found = await asyncio.to_thread(
            lambda: detect(directory_tree(looked.tree), this_host(None))
        )
        commands, _run, tried = await prove(found.candidates, trees.fresh)
    runnable = [c for c, run in tried if run.standing is not Standing.NONE]
    return commands or (runnable[0] if runnable else None)


async def _verified(
    ctx: StepContext, mirror: Mirror, commands: Commands, change: Mapping[str, Json]
) -> Verified:
    settings = ctx.get(Coding).settings
    scratch = ctx.work_dir / "verify"
    await asyncio.to_thread(scratch.mkdir, 0o700, True, True)
    return await run_verification(
        Verification(
            base_sha=base_sha(ctx.outputs),
            tree_sha=str(change["commit"]),
            commands=commands,
            checkout=lambda sha, path: checkout_clean(mirror, sha, path),
            scratch=scratch,
            expectation=_expectation(ctx),
            allow_weak=settings.allow_weak,
        ),
        on_progress=ctx.progress,
    )


def _expectation(ctx: StepContext) -> Expectation:
    """What the change has to show, as the constraints of the mission state it."""
    constraints = ctx.mission.constraints
    return Expectation(
        red_before_green=constraints.get("behaviour_change", True) is not False,
        targets=tuple(map(str, constraints.get("must_pass_tests") or ())),
        declared=tuple(map(str, constraints.get("may_change") or ())),
    )


async def _recorded(
    ctx: StepContext, verified: Verified, commands: Commands, change: Mapping[str, Json]
) -> dict[str, Json]:
    """Store the proof and the test results, and say in short what they show."""
    proof, runs = verified.proof, verified.runs
    proved = await ctx.store(f"{ctx.step.id}_proof.json", proof.canonical)
    results = _test_execution(ctx, proof, runs.candidate)
    await ctx.store(
        f"{ctx.step.id}_test_execution.json",
        orjson.dumps(results, option=orjson.OPT_INDENT_2),
        path=f"test_results/{ctx.mission.id}/test_execution.json",
    )
    after = report_json(runs.candidate.report)
    return {
        "passed": proof.passed,
        "digest": proof.digest,
        "commit": change["commit"],
        "commands": commands.as_json(),
        "before": report_json(runs.base.report)["counts"],
        **after,
        "reasons": [reason.as_json() for reason in proof.reasons[:REASONS_SHOWN]],
        "warnings": [warning.as_json() for warning in proof.warnings[:REASONS_SHOWN]],
        "summary": _summary(proof, after),
        "evidence": change.get("evidence"),
        "diff": change.get("diff"),
        "proof": proved.as_json(),
    }


def _summary(proof: Proof, after: Mapping[str, Json]) -> str:
    counts = after["counts"] or {}
    told = f"{counts.get('passed', 0)} of {counts.get('total', 0)} tests pass"
    if proof.passed:
        return f"Proved: {told}, in fresh checkouts, twice."
    return f"Not proved ({told}): " + " ".join(r.message for r in proof.reasons[:3])


def _test_execution(ctx: StepContext, proof: Proof, run: Run) -> dict[str, Json]:
    """The documented `test_execution.json` (DOC-2): counts, durations and a CTRF report."""
    now_ms = int(ctx.clock.now().timestamp() * 1000)
    report = run.report
    return {
        "mission_id": ctx.mission.id,
        "at": iso(ctx.clock.now()),
        "step": ctx.step.id,
        "passed": proof.passed,
        "proof_digest": proof.digest,
        "counts": report_json(report)["counts"],
        "duration_s": round(run.duration_s, 3),
        "commands": [command.as_json() for command in run.commands],
        "trouble": run.trouble,
        "ctrf": (
            as_ctrf(report, start_ms=now_ms - int(run.duration_s * 1000), stop_ms=now_ms)
            if report
            else None
        ),
    }


def next_round(ctx: StepContext) -> Patch | None:
    """Debugging mentors, another attempt and another proof; after the last one, a person."""
    done = proofs_since_base(ctx.outputs) + 1
    if done >= ROUNDS_BY_HAND_MAX:
        return None
    n = ordinal("verify", ctx.outputs) + 1
    by_hand = done >= ctx.get(Coding).settings.rounds_max
    diagnose, implement, verified = f"diagnose_{n}", f"implement_{n}", f"verify_{n}"
    first = StepSpec(
        id=diagnose,
        kind="diagnose",
        phase="testing",
        needs=(ctx.step.id,),
        args={"proof": ctx.step.id},
    )
    middle = StepSpec(
        id=implement,
        kind="implement",
        phase="testing",
        needs=(ctx.step.id,) if by_hand else (diagnose,),
        args={"by_hand": True} if by_hand else {},
    )
    last = StepSpec(id=verified, kind="verify", phase="testing", needs=(implement,))
    steps = (middle, last) if by_hand else (first, middle, last)
    return Patch(steps=steps, rewire={ctx.step.id: verified})
