"""How far a mission is, in the documented shape (RUN-2, RUN-3, DOC-4): a reading of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from quarterdeck.core.clock import iso
from quarterdeck.core.events import Json
from quarterdeck.core.run import ENDED, Run, Status

FIRST_GUESS_S = 15.0
"""What is said to remain before there is any evidence (RUN-3)."""
EVIDENCE_SHARE_MIN = 0.05
"""The share of the expected work that must be done before this run's rate says anything."""
STEP_WORDS = {
    Status.DONE: "completed",
    Status.FAILED: "failed",
    Status.SKIPPED: "skipped",
    Status.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """The documented progress, and what its estimate rests on.

    `basis` is `over`, `rate` (of this run) or `default` (no evidence yet, a mere estimate).
    `started_at` is None until the first reported step has begun.
    """

    document: dict[str, Json]
    basis: str
    started_at: str | None


@dataclass(frozen=True, slots=True)
class _Over:
    """A reported step that is over; `share` is what it stands for, of all the expected work."""

    step_id: str
    index: int
    status: Status
    message: str
    at: str | None
    share: float


def progress(
    run: Run, weights: Mapping[str, float], now: datetime, *, finished: str | None = None
) -> Progress:
    """The progress of a mission at `now`.

    Steps of no weight (a person's answer) are not reported. `finished` names a step that counts as
    done at `now`: the last one writes the record of which it is a part.
    """
    reported = [spec.id for spec in run.plan.steps if weights[spec.id] > 0]
    over = _over(run, reported, weights, iso(now), finished)
    begun = [at for i in reported if (at := run.steps[i].started_at) is not None]
    started_at = min(begun, default=None)
    status = _status(run, over, len(reported), started_at)
    gone = _cumulated(over)
    elapsed_s = _elapsed_s(started_at, over, now, ended=status in {"completed", "failed"})
    basis, remaining_s = _remaining(status, gone[-1] if gone else 0.0, elapsed_s)
    document: dict[str, Json] = {
        "mission_id": run.mission.id,
        "current_step": None if finished else _current(run, reported),
        "completed_steps": [
            _step(one, len(reported), share) for one, share in zip(over, gone, strict=True)
        ],
        "progress_percent": _percent(gone[-1]) if gone else 0.0,
        "elapsed_seconds": elapsed_s,
        "estimated_time_remaining": remaining_s,
        "status": status,
    }
    return Progress(document, basis, started_at)


def _over(
    run: Run,
    reported: list[str],
    weights: Mapping[str, float],
    now: str,
    finished: str | None,
) -> list[_Over]:
    total = sum(weights[step_id] for step_id in reported) or 1.0
    broken = bool(run.in_status(Status.FAILED, Status.CANCELLED))
    found: list[_Over] = []
    for index, step_id in enumerate(reported, start=1):
        state = run.steps[step_id]
        status = Status.DONE if step_id == finished else state.status
        # What a failure left out did not happen; what a condition left out counts as gone.
        if status not in STEP_WORDS or (broken and status in {Status.SKIPPED, Status.CANCELLED}):
            continue
        share = 0.0 if status is Status.FAILED else weights[step_id] / total
        message = str(state.outputs.get("message") or state.reason or "")
        at = now if step_id == finished else state.ended_at
        found.append(_Over(step_id, index, status, message, at, share))
    return found


def _status(run: Run, over: list[_Over], total: int, started_at: str | None) -> str:
    done = any(one.status is Status.DONE for one in over)
    if any(one.status is Status.FAILED for one in over):
        return "failed"
    if len(over) == total and done:
        return "completed"
    if run.status in ENDED:
        return "completed" if run.status is Status.DONE and done else "failed"
    return "unknown" if started_at is None else "in_progress"


def _cumulated(over: list[_Over]) -> list[float]:
    gone: list[float] = []
    for one in over:
        gone.append((gone[-1] if gone else 0.0) + one.share)
    return gone


def _remaining(status: str, gone: float, elapsed_s: float) -> tuple[str, float]:
    if status in {"completed", "failed"}:
        return "over", 0.0
    if gone < EVIDENCE_SHARE_MIN:
        return "default", FIRST_GUESS_S
    return "rate", round(elapsed_s * (1.0 - gone) / gone, 1)


def _elapsed_s(started_at: str | None, over: list[_Over], now: datetime, *, ended: bool) -> float:
    if started_at is None:
        return 0.0
    last = max((one.at for one in over if one.at), default=None) if ended else None
    end = datetime.fromisoformat(last) if last is not None else now
    return max(0.0, round((end - datetime.fromisoformat(started_at)).total_seconds(), 3))


def _current(run: Run, reported: list[str]) -> str | None:
    moving = {Status.RUNNING, Status.WAITING, Status.BLOCKED}
    return next((i for i in reported if run.steps[i].status in moving), None)


def _step(one: _Over, total: int, gone: float) -> dict[str, Json]:
    return {
        "step_name": one.step_id,
        "step_index": one.index,
        "total_steps": total,
        "progress_percent": _percent(gone),
        "status": STEP_WORDS[one.status],
        "message": one.message,
        "timestamp": one.at,
    }


def _percent(share: float) -> float:
    return min(100.0, round(100.0 * share, 1))
