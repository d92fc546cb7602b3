"""The step kinds of this feature, from looking at the target to taking a promotion back."""

from __future__ import annotations

from quarterdeck.core.step import Effect, StepKind
from quarterdeck.engine.context import StepContext
from quarterdeck.features.coding.steps.archive import archive
from quarterdeck.features.coding.steps.implement import implement
from quarterdeck.features.coding.steps.promote import promote, revert
from quarterdeck.features.coding.steps.rebase import rebase
from quarterdeck.features.coding.steps.sandbox import sandbox
from quarterdeck.features.coding.steps.target import baseline, target
from quarterdeck.features.coding.steps.verify import verify

DAY_S = 86_400.0

STEPS: tuple[StepKind[StepContext], ...] = (
    StepKind("target", target, Effect.IDEMPOTENT, timeout_s=900, weight_s=1),
    StepKind(
        "baseline", baseline, Effect.IDEMPOTENT, timeout_s=3600, weight_s=10, concurrency_max=2
    ),
    StepKind("sandbox", sandbox, Effect.IDEMPOTENT, timeout_s=900, weight_s=1),
    StepKind(
        "implement", implement, Effect.IDEMPOTENT, timeout_s=DAY_S, weight_s=60, concurrency_max=2
    ),
    StepKind("verify", verify, Effect.IDEMPOTENT, timeout_s=7200, weight_s=20, concurrency_max=2),
    StepKind("rebase", rebase, Effect.IDEMPOTENT, timeout_s=900, weight_s=1),
    StepKind("promote", promote, Effect.IDEMPOTENT, timeout_s=900, weight_s=1),
    StepKind("archive", archive, Effect.IDEMPOTENT, timeout_s=900, weight_s=1),
    StepKind("revert", revert, Effect.IDEMPOTENT, timeout_s=900, weight_s=1),
)
"""Two trees are tested and changed at once: each may keep a core busy."""
