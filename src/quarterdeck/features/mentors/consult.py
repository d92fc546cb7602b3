"""The steps that define a mission, ask the mentors and count their votes (ORC-3, ORC-4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quarterdeck.core.clock import iso
from quarterdeck.core.errors import QuarterdeckError, StepFailed
from quarterdeck.core.events import EventType, Json
from quarterdeck.core.mission import TaskKind
from quarterdeck.core.step import Done
from quarterdeck.engine.context import StepContext
from quarterdeck.features.mentors.calibration import bucket, confidence
from quarterdeck.features.mentors.consensus import Ballot, Consensus, decide
from quarterdeck.features.mentors.models import file_names
from quarterdeck.features.mentors.prompt import (
    PROMPT_CHARS,
    PROMPT_CHARS_BUNDLED,
    Material,
    Prompt,
    build,
)
from quarterdeck.features.mentors.records import (
    answer_outputs,
    as_bytes,
    ballots_from,
    brief_document,
    material,
    response_document,
    summary,
)
from quarterdeck.features.mentors.roundtable import Answered, Mentors, Roundtable
from quarterdeck.features.mentors.routing import Classification, Mentor, Routing, classify
from quarterdeck.features.mentors.settings import MentorSettings
from quarterdeck.features.mentors.similarity import Vectors
from quarterdeck.llm.gateway import OnUsage
from quarterdeck.llm.port import ModelRef, Usage


async def define(ctx: StepContext) -> Done:
    """Say what kind of task this is and keep the brief (step kind `define`)."""
    found = classification_of(ctx)
    artifact = await ctx.store(
        "brief",
        as_bytes(brief_document(ctx.mission, found)),
        path=f"mission_briefs/{ctx.mission.id}/brief_{ctx.mission.id}.json",
    )
    return Done(
        {
            "task_kind": found.kind.value,
            "classification": found.as_json(),
            "constraints": ctx.mission.constraints,
            "brief": artifact.as_json(),
        }
    )


def classification_of(ctx: StepContext) -> Classification:
    """The kind of this mission's task."""
    mission = ctx.mission
    return classify(mission.brief, mission.constraints, mission.task_kind)


async def consult(ctx: StepContext) -> Done:
    """Ask every mentor for this kind of task, and keep each answer (step kind `consult`)."""
    kind = classification_of(ctx).kind
    mentors = ctx.get(Mentors)
    routing = await mentors.routing(kind, ctx.mission.workspace)
    ctx.emit(
        EventType.MENTOR_ROUNDTABLE_STARTED, {"mission_id": ctx.mission.id, **routing.as_json()}
    )
    answers = await ask_and_store(ctx, routing, material(ctx.mission, ctx.outputs), folder="")
    return Done({"task_kind": kind.value, "routing": routing.as_json(), "answers": answers})


async def ask_and_store(
    ctx: StepContext, routing: Routing, known: Material, *, folder: str
) -> list[dict[str, Json]]:
    """Ask the mentors of `routing`; one artifact each below `mentors/ID/` and `folder`."""
    mentors = ctx.get(Mentors)
    settings = mentors.settings(ctx.mission.workspace)
    purpose = f"mentor.{ctx.step.kind}"
    table = Roundtable(mentors.gateway, recorder(ctx), settings, ctx.clock, purpose)
    prompts = {m.ref: _prompt(m, routing.kind, known) for m in routing.mentors}
    asked_at = iso(ctx.clock.now())
    ctx.progress(f"Asking {len(routing.mentors)} mentors.", mentors=routing.as_json()["mentors"])
    answered = await table.ask(routing.mentors, prompts)
    stems = file_names(m.ref for m in routing.mentors)
    outputs = []
    for one in answered:
        ref = one.mentor.ref
        path = f"mentors/{ctx.mission.id}/{folder}{stems[ref]}_response.json"
        document = response_document(
            ctx.mission.id, one, prompts[ref], asked_at=asked_at, task_kind=routing.kind.value
        )
        artifact = await ctx.store(f"{folder}{stems[ref]}_response", as_bytes(document), path=path)
        outputs.append(answer_outputs(one, artifact.sha256, path))
    ctx.progress(_heard(answered), fraction=1.0)
    return outputs


def recorder(ctx: StepContext) -> OnUsage:
    """Records each call to a model as a fact of this step."""

    def record(usage: Usage) -> None:
        ctx.emit(EventType.MODEL_CALLED, usage.as_json())

    return record


def _prompt(mentor: Mentor, kind: TaskKind, known: Material) -> Prompt:
    chars_max = PROMPT_CHARS_BUNDLED if mentor.ref.demonstration else PROMPT_CHARS
    return build(kind, known, chars_max=chars_max)


def _heard(answered: Sequence[Answered]) -> str:
    usable = sum(bool(one.opinions) for one in answered)
    return f"{usable} of {len(answered)} mentors gave a usable answer."


async def agree(ctx: StepContext) -> Done:
    """Count the votes and keep the round table's summary (step kind `agree`)."""
    consulted = ctx.outputs.get("consult")
    if consulted is None:
        raise StepFailed(
            "No mentors were consulted before.", where=ctx.step.id, hint="Run 'consult' first."
        )
    answers = consulted["answers"]
    result, found = await counted(ctx, TaskKind(consulted["task_kind"]), answers)
    table = summary(result, found, answers)
    document = {
        "mission_id": ctx.mission.id,
        "task_kind": consulted["task_kind"],
        "routing": consulted["routing"],
        "created_at": iso(ctx.clock.now()),
        **table,
    }
    artifact = await ctx.store(
        "roundtable_summary",
        as_bytes(document),
        path=f"mentors/{ctx.mission.id}/summary/roundtable_summary.json",
    )
    ctx.emit(EventType.MENTOR_ROUNDTABLE_COMPLETED, _completed(ctx.mission.id, answers, table))
    return Done(
        {
            "task_kind": consulted["task_kind"],
            "agreement_bucket": bucket(result.support),
            **table,
            "summary": artifact.as_json(),
        }
    )


def _completed(
    mission_id: str, answers: Sequence[Mapping[str, Any]], table: Mapping[str, Json]
) -> dict[str, Json]:
    return {
        "mission_id": mission_id,
        "status": table["status"],
        "approach": table["consensus"]["approach"],
        "tally": table["tally"],
        "confidence": table["confidence"],
        "average_confidence": table["average_confidence"],
        "mentors_asked": len(answers),
        "mentors_answered": sum(bool(answer["opinions"]) for answer in answers),
        "demonstration": table["demonstration"],
    }


async def counted(
    ctx: StepContext, kind: TaskKind, answers: Sequence[Mapping[str, Any]]
) -> tuple[Consensus, dict[str, Json]]:
    """The consensus over `answers`, and its confidence."""
    mentors = ctx.get(Mentors)
    settings = mentors.settings(ctx.mission.workspace)
    weights = {a["model"]: settings.weight_of(ModelRef.parse(a["model"])) for a in answers}
    ballots = ballots_from(answers, weights)
    vectors = await _vectors(ctx, settings, ballots)
    result = decide(ballots, quorum=settings.quorum, rho=settings.rho, vectors=vectors)
    known = await mentors.outcomes(ctx.mission.workspace, kind, bucket(result.support))
    return result, confidence(result.support, known)


async def _vectors(
    ctx: StepContext, settings: MentorSettings, ballots: Sequence[Ballot]
) -> Vectors | None:
    """Embeddings of every proposed approach, or None where no embedding model answers."""
    texts = sorted({a.text for b in ballots for o in b.voting for a in o.approaches})
    if settings.embedding is None or not texts:
        return None
    gateway = ctx.get(Mentors).gateway.reporting_to(recorder(ctx))
    try:
        embedded = await gateway.embed(
            texts,
            settings.embedding,
            purpose="mentor.compare",
            allow_cloud=settings.cloud_allowed,
        )
    except QuarterdeckError as error:
        ctx.progress(f"Words are compared instead of meanings: {error}")
        return None
    return Vectors(embedded.model, dict(zip(texts, embedded.vectors, strict=True)))
