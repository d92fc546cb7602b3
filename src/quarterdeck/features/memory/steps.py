"""The step kinds and reactions of this feature."""

from __future__ import annotations

from datetime import datetime

import orjson

from quarterdeck.core.events import EventType, Json, Recorded
from quarterdeck.core.step import Done, Effect, StepKind
from quarterdeck.engine.context import Resources, StepContext
from quarterdeck.engine.reactions import Reaction
from quarterdeck.features.memory.lesson import lesson
from quarterdeck.features.memory.memory import Memory
from quarterdeck.features.memory.search import Hit

LESSONS_MAX = 5
LESSON_CHARS = 700
_HITS = 25


async def recall(ctx: StepContext) -> Done:
    """Find lessons of earlier missions for this brief (step kind `recall`)."""
    hits = await ctx.get(Memory).search(
        ctx.mission.workspace,
        ctx.mission.brief,
        limit=_HITS,
        kinds=("lesson",),
        without_mission=ctx.mission.id,
    )
    return Done({"lessons": lessons_from(hits)})


def lessons_from(hits: list[Hit]) -> list[dict[str, Json]]:
    """The best chunk of each mission, at most five, each bounded in length."""
    best: dict[str | None, Hit] = {}
    for hit in hits:
        best.setdefault(hit.mission, hit)
    return [
        {
            "text": hit.text[:LESSON_CHARS],
            "mission": hit.mission,
            "outcome": hit.outcome,
            "age_days": hit.age_days,
            "score": hit.score,
            "match": hit.match,
            "rank": hit.rank,
        }
        for hit in list(best.values())[:LESSONS_MAX]
    ]


async def learn(ctx: StepContext) -> Done:
    """Write down what this mission taught, once its outcome is known (step kind `learn`).

    The argument `outcome` overrides what the outputs of earlier steps show.
    """
    mission, memory = ctx.mission, ctx.get(Memory)
    stated = ctx.step.args.get("outcome")
    begun = datetime.fromisoformat(mission.created_at)
    record = lesson(
        mission,
        ctx.outputs,
        outcome=stated if isinstance(stated, str) else None,
        cost=await memory.cost(mission.workspace, mission.id),
        duration_s=max(0.0, round((ctx.clock.now() - begun).total_seconds(), 3)),
    )
    artifact = await ctx.store(
        "lesson",
        orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        path=f"mission_briefs/{mission.id}/lesson/lesson.json",
    )
    await memory.learn(mission.workspace, mission.id, record)
    return Done({"lesson": record, "artifact": artifact.as_json()})


async def _ingest(recorded: Recorded, resources: Resources) -> None:
    await resources.get(Memory).ingest(recorded.event)


async def _overturn(recorded: Recorded, resources: Resources) -> None:
    event = recorded.event
    named = event.data.get("mission_id")
    mission = named if isinstance(named, str) else event.mission
    if mission is not None:
        await resources.get(Memory).overturn(event.workspace, mission)


STEPS: tuple[StepKind[StepContext], ...] = (
    StepKind("recall", recall, Effect.PURE, timeout_s=30, attempts_max=2, weight_s=0.2),
    StepKind("learn", learn, Effect.IDEMPOTENT, timeout_s=60, attempts_max=3, weight_s=0.2),
)
REACTIONS = (
    Reaction("memory.ingest", (EventType.LEARNING_ARTIFACT_STORED,), _ingest),
    Reaction("memory.overturn", (EventType.MISSION_ROLLED_BACK,), _overturn),
)
