"""The step that asks the debugging mentors about a failing proof (ORC-9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quarterdeck.core.errors import StepFailed
from quarterdeck.core.events import Json
from quarterdeck.core.mission import TaskKind
from quarterdeck.core.step import Done
from quarterdeck.engine.context import StepContext
from quarterdeck.features.mentors.consensus import consensus_json
from quarterdeck.features.mentors.consult import ask_and_store, counted
from quarterdeck.features.mentors.opinion import Opinion
from quarterdeck.features.mentors.prompt import shortened
from quarterdeck.features.mentors.records import (
    BASELINE,
    EVIDENCE_CHARS,
    Outputs,
    failing_text,
    material,
)
from quarterdeck.features.mentors.roundtable import Mentors


async def diagnose(ctx: StepContext) -> Done:
    """Ask the debugging mentors about the last proof that failed (step kind `diagnose`)."""
    proof_id = failed_proof(ctx.outputs, ctx.step.args.get("proof"))
    proof = ctx.outputs[proof_id]
    known = material(
        ctx.mission, ctx.outputs, failing=failing_text(proof), diff=await _diff(ctx, proof)
    )
    mentors = ctx.get(Mentors)
    routing = await mentors.routing(TaskKind.DEBUGGING, ctx.mission.workspace)
    answers = await ask_and_store(ctx, routing, known, folder=f"{ctx.step.id}/")
    result, found = await counted(ctx, TaskKind.DEBUGGING, answers)
    return Done(
        {
            "proof": proof_id,
            "routing": routing.as_json(),
            "status": result.status,
            "tally": result.tally,
            "consensus": consensus_json(result),
            "confidence": found,
            "advice": [_advice(answer) for answer in answers if answer["opinions"]],
            "answers": [
                {k: answer[k] for k in ("model", "error", "latency_ms", "artifact")}
                for answer in answers
            ],
        }
    )


def failed_proof(outputs: Outputs, stated: Any = None) -> str:
    """The step whose proof failed: the one stated, else the last one with `passed` false.

    Raises:
        StepFailed: when there is none.
    """
    failed = [s for s, o in outputs.items() if o.get("passed") is False and s != BASELINE]
    if isinstance(stated, str):
        failed = [step for step in failed if step == stated]
    if not failed:
        raise StepFailed(
            "There is no failing proof to diagnose.",
            where="diagnose",
            hint="Give it the condition that the proof did not pass.",
        )
    return failed[-1]


async def _diff(ctx: StepContext, proof: Mapping[str, Json]) -> str:
    """The change under proof: text, or the artifact that holds it; "" when it is not known."""
    value = proof.get("diff")
    if isinstance(value, Mapping) and isinstance(value.get("sha256"), str):
        content = await ctx.load(value["sha256"])
        return shortened(content.decode(errors="replace"), EVIDENCE_CHARS)
    return shortened(value, EVIDENCE_CHARS) if isinstance(value, str) else ""


def _advice(answer: Mapping[str, Any]) -> dict[str, Json]:
    """One mentor's first usable sample, bounded by the schema of opinions."""
    opinion = Opinion.model_validate(answer["opinions"][0])
    return {
        "model": answer["model"],
        "demonstration": answer["demonstration"],
        **opinion.model_dump(mode="json"),
    }
