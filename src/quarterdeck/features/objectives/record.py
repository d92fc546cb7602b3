"""The documented execution record of an objective mission (DOC-4), and its words for states."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from quarterdeck.core.clock import iso
from quarterdeck.core.events import Json
from quarterdeck.core.run import ENDED, Run, Status, standing
from quarterdeck.features.objectives.progress import progress

RECIPE = "objective"
APPROVAL, EXECUTION, TOOL_STEP = "approval", "execution", "tool_execution"
EVENT_TYPE = "mission_executed"
STATE_WORDS = {
    Status.QUEUED: "proposed",
    Status.RUNNING: "in_progress",
    Status.WAITING: "in_progress",
    Status.BLOCKED: "blocked",
    Status.DONE: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}
"""Our status → the documented word, where the two waits of the recipe do not say more."""
WAITING_WORDS = {APPROVAL: "proposed", EXECUTION: "approved"}
"""The step that waits for a person → the documented word."""


def state_word(run: Run) -> str:
    """The documented word for where an objective mission stands."""
    if run.outcome == "rejected":
        return "rejected"
    if run.status not in ENDED:
        # Also while the step is on its way to its question: nobody has answered it yet.
        for step_id, word in WAITING_WORDS.items():
            step = run.steps.get(step_id)
            if step is not None and step.status not in ENDED and not step.answers:
                return word
    return STATE_WORDS[standing(run)]


def execution_record(
    run: Run, weights: Mapping[str, float], now: datetime, *, finished: str | None = None
) -> dict[str, Json]:
    """The record as it stands at `now`; what no step has shown is None.

    `finished` names a step that counts as done at `now` (see `progress`).
    """
    outputs = run.outputs()
    used = outputs.get(TOOL_STEP, {})
    told = progress(run, weights, now, finished=finished)
    status = "completed" if finished else state_word(run)
    moment = iso(now) if finished else run.updated_at
    return {
        "event_type": EVENT_TYPE,
        "status": status,
        "tool_used": used.get("tool"),
        "tool_confidence": used.get("confidence"),
        "timestamp": told.started_at,
        "updated_at": moment,
        "progress_tracker": {
            **told.document,
            "start_time": told.started_at,
            "estimate_basis": told.basis,
        },
    }
