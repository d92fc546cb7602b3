"""Steps `promote` and `revert`: move the target's branch, or take exactly that back (ORC-11)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

import orjson

from quarterdeck.core.clock import iso
from quarterdeck.core.errors import Conflict, NotFound, QuarterdeckError, StepFailed
from quarterdeck.core.events import EventType, Json
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Patch, StepSpec
from quarterdeck.core.step import Choice, Done, Outcome, Wait
from quarterdeck.engine.context import StepContext
from quarterdeck.features.coding.git.promote import Promotion, Proposal
from quarterdeck.features.coding.git.promote import promote as move_branch
from quarterdeck.features.coding.git.refusal import ChangeRefused, Reason
from quarterdeck.features.coding.git.rollback import Withdrawal, roll_back
from quarterdeck.features.coding.steps.standing import approval_before, base_sha, ordinal
from quarterdeck.features.coding.wiring import Coding

LOG_MAX = 100_000

AGAIN = Choice("promote", "Try to promote it again")
REPROVE = Choice("reprove", "Take in what is new on the target, and prove it again")
REJECT = Choice("reject", "Leave it unpromoted")
REVERT_AGAIN = Choice("again", "Try to roll it back again")


async def promote(ctx: StepContext) -> Outcome:
    """Merge, sign and deliver what was proved and approved; a refusal asks and changes nothing.

    Where the target has moved on, `reprove` adds the steps that put the change on its new tip,
    prove it there, and ask for approval again.
    """
    choice = ctx.answers[-1].choice if ctx.answers else ""
    if choice == REJECT.id:
        return Done({"promoted": False, "outcome": "rejected"})
    approval = approval_before(ctx.step.needs, ctx.outputs)
    proof = await _approved_proof(ctx, str(approval["digest"]))
    if choice == REPROVE.id:
        return Done({"promoted": False}, _on_the_new_tip(ctx, str(proof["commit"])))
    proposal = _proposal(ctx, proof, approval)
    coding = ctx.get(Coding)
    try:
        mirror = await coding.mirror(ctx.mission)
        done = await move_branch(mirror, proposal, key=coding.key)
    except QuarterdeckError as refused:
        moved = isinstance(refused, ChangeRefused) and refused.reason is Reason.TARGET_MOVED
        choices = (AGAIN, REPROVE, REJECT) if moved else (AGAIN, REJECT)
        return Wait(f"It was not promoted: {refused}", choices, _why(refused))
    record = _record(ctx, proposal, done, coding)
    artifact = await ctx.store(
        "promotion_record.json",
        orjson.dumps(record, option=orjson.OPT_INDENT_2),
        path=f"mission_briefs/{ctx.mission.id}/promotion/promotion_record.json",
    )
    ctx.emit(EventType.MISSION_PROMOTED, record)
    return Done(
        {
            "promoted": True,
            "outcome": "promoted",
            "commit": done.commit,
            "record": record,
            "artifact": artifact.as_json(),
        }
    )


def _proposal(
    ctx: StepContext, proof: Mapping[str, Json], approval: Mapping[str, Json]
) -> Proposal:
    return Proposal(
        mission_id=ctx.mission.id,
        branch=str(ctx.outputs["target"]["branch"]),
        expected_target=base_sha(ctx.outputs),
        tip=str(proof["commit"]),
        summary=ctx.mission.brief.strip().splitlines()[0][:72],
        evidence_digest=str(proof["digest"]),
        approved_by=(str(approval["actor"]),),
        at=datetime.fromisoformat(str(approval["at"])),
    )


def _why(refused: QuarterdeckError) -> dict[str, Json]:
    """The reason in one word and the files it is about, where it is a refusal of git's."""
    if not isinstance(refused, ChangeRefused):
        return {"reason": refused.code}
    return {"reason": refused.reason.value, "files": list(refused.files)}


def _on_the_new_tip(ctx: StepContext, commit: str) -> Patch:
    """Put it on the target's new tip, prove it, tell, ask, promote: each step once more."""
    here, approved = ctx.step.id, next(n for n in ctx.step.needs if n.startswith("approve"))
    n = ordinal("rebase", ctx.outputs) + 1
    verify = f"verify_{ordinal('verify', ctx.outputs)}"
    rebase, notify, approve, again = (
        f"{k}_{n}" for k in ("rebase", "notify", "approve", "promote")
    )
    steps = (
        StepSpec(id=rebase, kind="rebase", needs=(here,), args={"commit": commit}),
        StepSpec(id=verify, kind="verify", phase="testing", needs=(rebase,)),
        StepSpec(id=notify, kind="notify", needs=(verify,)),
        StepSpec(id=approve, kind="approve", needs=(verify, notify)),
        StepSpec(id=again, kind="promote", needs=(approve,), when=f"{approve}.approved"),
    )
    return Patch(steps=steps, rewire={here: again, approved: approve})


async def _approved_proof(ctx: StepContext, approved: str) -> Mapping[str, Json]:
    """The proof that was approved, its digest computed anew from the stored bytes.

    Raises:
        StepFailed: when the approval is for something else.
    """
    for outputs in reversed(list(ctx.outputs.values())):
        if outputs.get("digest") != approved or "proof" not in outputs:
            continue
        stored = await ctx.load(str(outputs["proof"]["sha256"]))
        if hashlib.sha256(stored).hexdigest() == approved:
            return outputs
    raise StepFailed("The approval is for a proof that is not there any more.", where="approve")


def _record(
    ctx: StepContext, proposal: Proposal, done: Promotion, coding: Coding
) -> dict[str, Json]:
    return {
        "mission_id": ctx.mission.id,
        "commit": done.commit,
        "branch": done.branch,
        "target_before": done.target_before,
        "target_after": done.target_after,
        "delivered_to": done.delivered_to,
        "proved_commit": proposal.tip,
        "proof_digest": proposal.evidence_digest,
        "approved_by": list(proposal.approved_by),
        "approved_at": iso(proposal.at),
        "public_key": coding.key.public,
    }


async def revert(ctx: StepContext) -> Outcome:
    """Take back what the parent mission promoted, by its inverse (step kind `revert`).

    A refusal asks and changes nothing.

    Raises:
        StepFailed, NotFound, Conflict: there is nothing (any more) to take back.
    """
    coding, mission = ctx.get(Coding), ctx.mission
    if ctx.answers and ctx.answers[-1].choice == REJECT.id:
        return Done({"rolled_back": False, "outcome": "rejected"})
    if mission.parent is None:
        raise StepFailed("It names no mission to roll back.", where="parent")
    record = await _promotion_of(coding, mission.workspace, mission.parent)
    await _check_not_undone(coding, mission)
    withdrawal = Withdrawal(
        mission_id=mission.parent,
        branch=str(record["branch"]),
        commit=str(record["commit"]),
        reason=mission.brief.strip().splitlines()[0],
        approved_by=(mission.created_by,),
        at=datetime.fromisoformat(mission.created_at),
    )
    try:
        mirror = await coding.mirror(mission)
        done = await roll_back(mirror, withdrawal, key=coding.key)
    except ChangeRefused as refused:
        why = f"It was not rolled back: {refused}"
        later = [asdict(one) for one in refused.later]
        return Wait(why, (REVERT_AGAIN, REJECT), {**_why(refused), "later": later})
    told: dict[str, Json] = {
        "mission_id": mission.parent,
        "commit": done.commit,
        "undone": done.undone,
        "branch": done.branch,
        "target_before": done.target_before,
        "target_after": done.target_after,
        "delivered_to": done.delivered_to,
        "approved_by": [mission.created_by],
    }
    await ctx.store(
        "rollback_record.json",
        orjson.dumps(told, option=orjson.OPT_INDENT_2),
        path=f"mission_briefs/{mission.parent}/promotion/rollback_record.json",
    )
    ctx.emit(EventType.MISSION_ROLLED_BACK, told)
    return Done({"rolled_back": True, "outcome": "rolled_back", "record": told})


async def _check_not_undone(coding: Coding, mission: Mission) -> None:
    """Raise Conflict when another mission has taken the same promotion back before."""
    told = await coding.log.read(
        workspace=mission.workspace, types=[EventType.MISSION_ROLLED_BACK.value], limit=LOG_MAX
    )
    for one in told:
        if one.event.data["mission_id"] == mission.parent and one.event.mission != mission.id:
            raise Conflict(
                f"{mission.parent} was rolled back by {one.event.mission}.", where="parent"
            )


async def _promotion_of(coding: Coding, workspace: str, mission_id: str) -> Mapping[str, Json]:
    found = await coding.log.read(
        workspace=workspace, mission=mission_id, types=[EventType.MISSION_PROMOTED.value]
    )
    if not found:
        raise NotFound(f"{mission_id} has promoted nothing.", where="parent")
    return found[-1].event.data
