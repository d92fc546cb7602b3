"""The step kind of this feature."""

from __future__ import annotations

from quarterdeck.core.events import EventType
from quarterdeck.core.step import Done, Effect, StepKind
from quarterdeck.engine.context import StepContext
from quarterdeck.features.notify.message import notification


async def notify(ctx: StepContext) -> Done:
    """Say that the mission has come to its end (step kind `notify`)."""
    payload = notification(ctx.mission.id, ctx.mission.brief, ctx.outputs)
    ctx.emit(EventType.MISSION_NOTIFICATION_SENT, payload)
    return Done({"message": payload["message"], "tests_passed": payload["tests_passed"]})


STEPS: tuple[StepKind[StepContext], ...] = (
    StepKind("notify", notify, Effect.IDEMPOTENT, timeout_s=30, weight_s=0.1),
)
"""After a crash the fact may be recorded twice; it says the same both times."""
