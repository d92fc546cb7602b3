"""The documented paths and words (DOC-1, DOC-6), mapped from our own in one place."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from quarterdeck.core.errors import Conflict, QuarterdeckError, Refused
from quarterdeck.core.events import Json
from quarterdeck.core.run import Run, Status, standing
from quarterdeck.engine.answers import answer, awaited
from quarterdeck.engine.submit import Submission, submit
from quarterdeck.engine.view import phases
from quarterdeck.server.deps import CallerDep, DeskDep
from quarterdeck.server.missions import Wait, key_of, settled
from quarterdeck.server.promotion import promotion_record
from quarterdeck.storage.missions import MissionFilter

router = APIRouter(prefix="/api/missions/orchestrate", tags=["documented"])

STATUS_WORDS = {
    Status.QUEUED: "proposed",
    Status.RUNNING: "in_progress",
    Status.WAITING: "awaiting_answer",
    Status.DONE: "completed",
    Status.FAILED: "failed",
    Status.SKIPPED: "skipped",
    Status.CANCELLED: "cancelled",
    Status.BLOCKED: "blocked",
}
"""Our status → the documented word; a waiting mission says what it waits for (`WAITING_WORDS`)."""
WAITING_WORDS = {
    "gate": "awaiting_implementation_approval",
    "approve": "awaiting_promotion_approval",
    "promote": "promotion_refused",
}
"""The kind of the step that waits → the documented word."""
OUR_STATUS = {word: status for status, word in STATUS_WORDS.items()} | dict.fromkeys(
    WAITING_WORDS.values(), Status.WAITING
)
"""The documented word → our status."""


class OrchestrateSubmission(BaseModel):
    """The documented body of a submission; the other fields of `Submission` are allowed too."""

    brief: str
    constraints: dict[str, Any] = Field(default_factory=dict)
    auto_implement: bool = False
    mission_id: str | None = None
    repository: str | None = None
    target_branch: str | None = None
    implementer: str = "auto"
    implementer_options: dict[str, Any] = Field(default_factory=dict)


def status_word(run: Run) -> str:
    """The documented word for where a mission stands."""
    status = standing(run)
    if status is Status.WAITING:
        kinds = [run.spec(step).kind for step in run.in_status(Status.WAITING)]
        return next((WAITING_WORDS[k] for k in kinds if k in WAITING_WORDS), STATUS_WORDS[status])
    return STATUS_WORDS[status]


def execution_result(run: Run) -> dict[str, Json]:
    """The documented `execution_result`: the status and the phases so far."""
    return {
        "status": status_word(run),
        "phases": [
            {"phase": phase["phase"], "status": STATUS_WORDS[Status(phase["status"])]}
            for phase in phases(run)
            if phase["status"] != Status.QUEUED
        ],
    }


def orchestration_status(run: Run) -> dict[str, Json]:
    """The documented answer of `GET …/status/ID`; None where a step has not spoken yet."""
    outputs = run.outputs()
    agreed, sandbox = outputs.get("agree", {}), outputs.get("sandbox", {})
    return {
        "status": "success",
        "mission_id": run.mission.id,
        "execution_result": execution_result(run),
        "mentors": {
            "consensus": agreed.get("consensus"),
            "average_confidence": agreed.get("average_confidence"),
        },
        "plan": outputs.get("plan", {}).get("document"),
        "sandbox": {"path": sandbox.get("path"), "branch": sandbox.get("branch")},
        "awaiting": awaited(run),
    }


def not_promoted(run: Run) -> QuarterdeckError:
    """Why there is no promotion record, and what can be done."""
    where = run.mission.id
    for question in awaited(run):
        if run.spec(str(question["step"])).kind == "promote":
            choices = ", ".join(str(choice["id"]) for choice in question["choices"])
            return Refused(str(question["question"]), where=where, hint=f"Choices: {choices}.")
    failed = [run.steps[step].reason for step in run.in_status(Status.FAILED)]
    said = failed[0] if failed else None
    return Conflict(
        said or "It is not promoted (yet).", where=where, hint=f"It is {status_word(run)}."
    )


def active_sandbox(run: Run) -> dict[str, Json]:
    """One entry of the documented `GET …/active`."""
    outputs = run.outputs()
    proofs = [found["passed"] for found in outputs.values() if "passed" in found]
    current = [phase["phase"] for phase in phases(run) if phase["status"] not in {"queued"}]
    sandbox = outputs.get("sandbox", {})
    return {
        "mission_id": run.mission.id,
        "status": status_word(run),
        "branch": sandbox.get("branch"),
        "path": sandbox.get("path"),
        "phase": current[-1] if current else None,
        "test_status": None if not proofs else ("passed" if proofs[-1] else "failed"),
    }


@router.post("/submit")
async def submit_orchestration(
    given: OrchestrateSubmission, desk: DeskDep, who: CallerDep, wait_s: Wait = 0
) -> dict[str, Any]:
    """Submit a brief; waits up to `wait_s` for the first approval (DOC-1)."""
    submission = Submission.model_validate(given.model_dump())
    run = await submit(
        desk.engine, desk.recipes, submission, workspace=who.workspace, actor=who.actor
    )
    run = await settled(desk, (run.mission.workspace, run.mission.id), wait_s)
    return {
        "status": "success",
        "mission_id": run.mission.id,
        "execution_result": execution_result(run),
    }


@router.get("/status/{mission_id}")
async def orchestration(
    mission_id: str, desk: DeskDep, who: CallerDep, wait_s: Wait = 0
) -> dict[str, Any]:
    """Where a mission stands: consensus, plan, sandbox, and what is awaited (DOC-1)."""
    key = key_of(who, mission_id)
    await desk.engine.run(key)
    return orchestration_status(await settled(desk, key, wait_s))


@router.get("/active")
async def active(desk: DeskDep, who: CallerDep) -> dict[str, Any]:
    """Every unfinished mission with its sandbox, phase and test status (DOC-1)."""
    words = ("queued", "running", "waiting", "blocked")
    rows = await desk.engine.missions.page(who.workspace, MissionFilter(words, limit=500))
    runs = [await desk.engine.run((who.workspace, row["id"])) for row in rows]
    return {"active": [active_sandbox(run) for run in runs if run.mission.recipe == "solve"]}


@router.post("/promote/{mission_id}")
async def promote(
    mission_id: str, desk: DeskDep, who: CallerDep, wait_s: Wait = 30
) -> dict[str, Any]:
    """Approve the promotion and answer with its record; asked again, with the same one (DOC-1)."""
    key = key_of(who, mission_id)
    run = await desk.engine.run(key)
    if promotion_record(run) is None and not _promoting(run):
        await answer(desk.engine, key, ("promote",), actor=who.actor)
    run = await settled(desk, key, wait_s)
    record = promotion_record(run)
    if record is None:
        raise not_promoted(run)
    return {"status": "success", "mission_id": mission_id, "promotion_record": record}


def _promoting(run: Run) -> bool:
    """Whether the promotion was approved and is under way."""
    return any(run.spec(step).kind == "promote" for step in run.in_status(Status.RUNNING))
