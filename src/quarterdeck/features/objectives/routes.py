"""Objective missions over HTTP: their records, evidence and findings, and the documented paths."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from quarterdeck.core.errors import InvalidInput, NotFound
from quarterdeck.core.events import Json
from quarterdeck.core.mission import Mission
from quarterdeck.engine.answers import awaited
from quarterdeck.features.objectives import documented
from quarterdeck.features.objectives.charter import charter_of
from quarterdeck.features.objectives.objectives import Objectives
from quarterdeck.features.objectives.record import RECIPE, TOOL_STEP, state_word
from quarterdeck.features.objectives.store import LIMIT_MAX
from quarterdeck.server.deps import CallerDep, DeskDep
from quarterdeck.server.missions import key_of

router = APIRouter()
own = APIRouter(prefix="/api/objectives", tags=["objectives"])


@own.get("")
async def list_records(
    desk: DeskDep,
    who: CallerDep,
    before: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 50,
) -> dict[str, Any]:
    """The records of objectives that are over, newest first; `before` takes an `updated_at`."""
    store = desk.resources.get(Objectives).store
    return {"records": await store.newest(who.workspace, before=before, limit=limit)}


@own.get("/{mission_id}")
async def show_objective(mission_id: str, desk: DeskDep, who: CallerDep) -> dict[str, Any]:
    """One objective: what was approved, what each step decided and why, and what was found."""
    key = key_of(who, mission_id)
    run = await desk.engine.run(key)
    if run.mission.recipe != RECIPE:
        raise NotFound(f"There is no objective {mission_id!r}.", where="mission_id")
    outputs = run.outputs()
    found = {
        "mission_id": mission_id,
        "status": state_word(run),
        "outcome": run.outcome,
        "error": run.error,
        "charter": _charter(run.mission),
        "awaiting": awaited(run),
        "steps": {step_id: dict(said) for step_id, said in outputs.items() if step_id != TOOL_STEP},
        "findings": outputs.get(TOOL_STEP),
        "execution_record": await desk.resources.get(Objectives).record(key),
    }
    await desk.engine.durable(key)
    return found


def _charter(mission: Mission) -> dict[str, Json] | None:
    """The charter, or None for a mission whose constraints state none (its error says why)."""
    try:
        return charter_of(mission).as_json()
    except InvalidInput:
        return None


router.include_router(own)
router.include_router(documented.router)
