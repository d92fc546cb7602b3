"""The documented paths of objective missions (DOC-4), mapped onto our own."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from quarterdeck.core.errors import Conflict, InvalidInput, NotFound
from quarterdeck.core.ids import check_id
from quarterdeck.core.run import Run
from quarterdeck.engine.answers import answer
from quarterdeck.engine.engine import Key
from quarterdeck.engine.submit import Submission, submit
from quarterdeck.features.objectives.charter import OBJECTIVE_CHARS_MAX, parse_charter
from quarterdeck.features.objectives.progress import progress
from quarterdeck.features.objectives.record import RECIPE, state_word
from quarterdeck.server.deps import Caller, CallerDep, Desk, DeskDep
from quarterdeck.server.missions import Wait, settled

router = APIRouter(prefix="/missions", tags=["documented"])

QUESTION_S = 10.0
"""How long a call waits for the recipe to come to the next question; it takes milliseconds."""


class Objective(BaseModel):
    """What is to be found out, and where it may be looked for.

    `constraints` may hold `budget` (max_requests, max_bytes, max_seconds) and `tool`.
    """

    model_config = ConfigDict(extra="forbid")

    objective: Annotated[str, StringConstraints(min_length=1, max_length=OBJECTIVE_CHARS_MAX)]
    scope: dict[str, Any]
    constraints: dict[str, Any] = Field(default_factory=dict)


class Approval(BaseModel):
    """Why, and the digest of what was looked at."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, StringConstraints(max_length=4000)] = ""
    digest: Annotated[str, StringConstraints(max_length=200)] | None = None


@router.post("/create")
async def create(given: Objective, desk: DeskDep, who: CallerDep) -> dict[str, str]:
    """Propose an objective; nothing is fetched before it is approved and executed."""
    if "scope" in given.constraints:
        raise InvalidInput("The scope stands beside the constraints.", where="constraints.scope")
    constraints = {**given.constraints, "scope": given.scope}
    parse_charter(given.objective, constraints)
    submission = Submission(brief=given.objective, recipe=RECIPE, constraints=constraints)
    run = await submit(
        desk.engine, desk.recipes, submission, workspace=who.workspace, actor=who.actor
    )
    await desk.engine.idle_within((run.mission.workspace, run.mission.id), QUESTION_S)
    return {"mission_id": run.mission.id, "status": state_word(run)}


@router.post("/{mission_id}/approve")
async def approve(
    mission_id: str, desk: DeskDep, who: CallerDep, given: Approval | None = None
) -> dict[str, str]:
    """Approve the objective within its scope; it does not run yet."""
    return await _answered(desk, who, mission_id, "approve", given or Approval(), QUESTION_S)


@router.post("/{mission_id}/execute")
async def execute(
    mission_id: str,
    desk: DeskDep,
    who: CallerDep,
    given: Approval | None = None,
    wait_s: Wait = 0,
) -> dict[str, str]:
    """Execute an approved objective; waits up to `wait_s` for its end."""
    return await _answered(desk, who, mission_id, "execute", given or Approval(), wait_s)


@router.get("/{mission_id}/progress")
async def mission_progress(
    mission_id: str, desk: DeskDep, who: CallerDep, response: Response
) -> dict[str, Any]:
    """How far a mission is; the header `Quarterdeck-Estimate` says what the estimate rests on."""
    run = await desk.engine.run(_key(who, mission_id))
    found = progress(run, desk.engine.weights(run), desk.engine.clock.now())
    await desk.engine.durable((run.mission.workspace, run.mission.id))
    response.headers["Quarterdeck-Estimate"] = found.basis
    return found.document


async def _answered(
    desk: Desk, who: Caller, mission_id: str, choice: str, given: Approval, wait_s: float
) -> dict[str, str]:
    key = _key(who, mission_id)
    await _ours(desk, key)
    await answer(
        desk.engine, key, (choice,), actor=who.actor, reason=given.reason, digest=given.digest
    )
    run = await settled(desk, key, wait_s)
    return {"mission_id": mission_id, "status": state_word(run)}


async def _ours(desk: Desk, key: Key) -> Run:
    run = await desk.engine.run(key)
    if run.mission.recipe != RECIPE:
        raise Conflict(
            f"It is a mission of the recipe {run.mission.recipe!r}, not an objective.",
            where="mission_id",
            hint=f"Answer it at /api/missions/{key[1]}/answers.",
        )
    return run


def _key(who: Caller, mission_id: str) -> Key:
    """The mission's key; what can be nobody's id is a mission that does not exist."""
    try:
        return who.workspace, check_id(mission_id, where="mission_id")
    except InvalidInput:
        shown = mission_id[:80]
        raise NotFound(f"There is no mission {shown!r}.", where="mission_id") from None
