"""The step kinds of this feature."""

from __future__ import annotations

from quarterdeck.core.step import Effect, StepKind
from quarterdeck.engine.context import StepContext
from quarterdeck.features.mentors.consult import agree, consult, define
from quarterdeck.features.mentors.diagnosis import diagnose
from quarterdeck.features.mentors.planning import plan

STEPS: tuple[StepKind[StepContext], ...] = (
    StepKind("define", define, Effect.IDEMPOTENT, timeout_s=30, weight_s=0.1),
    StepKind("consult", consult, Effect.IDEMPOTENT, timeout_s=3600, weight_s=60),
    StepKind("agree", agree, Effect.IDEMPOTENT, timeout_s=120, weight_s=0.5),
    StepKind("plan", plan, Effect.IDEMPOTENT, timeout_s=3600, weight_s=30),
    StepKind("diagnose", diagnose, Effect.IDEMPOTENT, timeout_s=3600, weight_s=60),
)
"""Models are asked again after a crash; every artifact is written to the same place again."""
