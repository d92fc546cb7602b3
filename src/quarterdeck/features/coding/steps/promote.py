"""Steps `promote` and `revert`: move the target's branch, or take exactly that back (ORC-11)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

import orjson

from quarterdeck.core.clock import iso
from quarterdeck.core.errors import NotFound, Refused, StepFailed
from quarterdeck.core.events import EventType, Json
from quarterdeck.core.step import Choice, Done, Outcome, Wait
from quarterdeck.engine.context import StepContext
from quarterdeck.features.coding.git.promote import Promotion, Proposal
from quarterdeck.features.coding.git.promote import promote as move_branch
from quarterdeck.features.coding.git.rollback import Withdrawal, roll_back
from quarterdeck.features.coding.wiring import Coding

AGAIN = Choice("promote", "Try to promote it again")
REJECT = Choice("reject", "Leave it unpromoted")


async def promote(ctx: StepContext) -> Outcome:
    """Merge, sign and deliver what was proved and approved; a refusal asks and changes nothing."""
    if ctx.answers and ctx.answers[-1].choice == REJECT.id:
        return Done({"promoted": False, "outcome": "rejected"})
    proof = await _approved_proof(ctx)
    approval = ctx.outputs["approve"]
    target = ctx.outputs["target"]
    proposal = Proposal(
        mission_id=ctx.mission.id,
        branch=str(target["branch"]),
        expected_target=str(target["base_sha"]),
        tip=str(proof["commit"]),
        summary=ctx.mission.brief.strip().splitlines()[0][:72],
        evidence_digest=str(proof["digest"]),
        approved_by=(str(approval["actor"]),),
        at=datetime.fromisoformat(str(approval["at"])),
    )
    coding = ctx.get(Coding)
    mirror = await coding.mirror(ctx.mission)
    try:
        done = await move_branch(mirror, proposal, key=coding.key)
    except Refused as refused:
        return Wait(f"It was not promoted: {refused}", (AGAIN, REJECT))
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


async def _approved_proof(ctx: StepContext) -> Mapping[str, Json]:
    """The proof that was approved, its digest computed anew from the stored bytes.

    Raises:
        StepFailed: when the approval is for something else.
    """
    approved = ctx.outputs["approve"]["digest"]
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


async def revert(ctx: StepContext) -> Done:
    """Take back what the parent mission promoted, by its inverse (step kind `revert`)."""
    coding, mission = ctx.get(Coding), ctx.mission
    if mission.parent is None:
        raise StepFailed("It names no mission to roll back.", where="parent")
    record = await _promotion_of(coding, mission.workspace, mission.parent)
    mirror = await coding.mirror(mission)
    done = await roll_back(
        mirror,
        Withdrawal(
            mission_id=mission.parent,
            branch=str(record["branch"]),
            commit=str(record["commit"]),
            reason=mission.brief.strip().splitlines()[0],
            approved_by=(mission.created_by,),
            at=datetime.fromisoformat(mission.created_at),
        ),
        key=coding.key,
    )
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


async def _promotion_of(coding: Coding, workspace: str, mission_id: str) -> Mapping[str, Json]:
    found = await coding.log.read(
        workspace=workspace, mission=mission_id, types=[EventType.MISSION_PROMOTED.value]
    )
    if not found:
        raise NotFound(f"{mission_id} has promoted nothing.", where="parent")
    return found[-1].event.data
