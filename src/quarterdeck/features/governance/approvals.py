"""Steps that wait for a person's yes; waiting costs nothing and survives everything."""

from __future__ import annotations

from collections.abc import Mapping

from quarterdeck.core.events import Json
from quarterdeck.core.step import Choice, Done, Effect, Outcome, StepKind, Wait
from quarterdeck.engine.context import StepContext

START = Choice("start", "Start the mission")
APPROVE = Choice("approve", "Let the product implement it")
CONTINUE = Choice("continue", "I have implemented it by hand in the sandbox")
PROMOTE = Choice("promote", "Promote: merge it into the target branch")
REJECT = Choice("reject", "Stop here and change nothing")


async def start(ctx: StepContext) -> Outcome:
    """A brief that may not start by itself waits here (step kind `start`; ORC-2)."""
    if ctx.answers:
        return Done({"started_by": ctx.answers[-1].actor})
    return Wait("This brief waits to be started.", (START,))


async def gate(ctx: StepContext) -> Outcome:
    """Who implements: the product or a person (step kind `gate`; ORC-7)."""
    sandbox = ctx.outputs.get("sandbox", {})
    if not ctx.answers:
        detail = {"sandbox": sandbox.get("path"), "branch": sandbox.get("branch")}
        return Wait("May the product implement this?", (APPROVE, CONTINUE, REJECT), detail)
    given = ctx.answers[-1]
    return Done(
        {
            "choice": given.choice,
            "by_hand": given.choice == CONTINUE.id,
            "rejected": given.choice == REJECT.id,
            "actor": given.actor,
            "reason": given.reason,
        }
    )


async def approve(ctx: StepContext) -> Outcome:
    """Whether what was proved may be promoted (step kind `approve`; ORC-11).

    The answer is bound to the digest of the proof: a changed proof needs a new answer.
    """
    proof = _proof(ctx)
    if not proof.get("passed"):
        return Done({"approved": False, "outcome": "unproved", "digest": proof.get("digest")})
    if not ctx.answers:
        detail = {name: proof.get(name) for name in ("counts", "summary", "commit", "evidence")}
        digest = proof.get("digest")
        return Wait("May this be promoted?", (PROMOTE, REJECT), detail, digest=digest)
    given = ctx.answers[-1]
    approved = given.choice == PROMOTE.id
    return Done(
        {
            "approved": approved,
            "actor": given.actor,
            "at": given.at,
            "reason": given.reason,
            "digest": proof.get("digest"),
            "outcome": None if approved else "rejected",
        }
    )


def _proof(ctx: StepContext) -> Mapping[str, Json]:
    """The outputs of the proof that this approval comes right after."""
    found = [ctx.outputs[need] for need in ctx.step.needs if "passed" in ctx.outputs.get(need, {})]
    return found[-1] if found else {}


STEPS: tuple[StepKind[StepContext], ...] = (
    StepKind("start", start, Effect.PURE, weight_s=0.1),
    StepKind("gate", gate, Effect.PURE, weight_s=0.1),
    StepKind("approve", approve, Effect.PURE, weight_s=0.1),
)
