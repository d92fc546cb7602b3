"""Missions over HTTP: submit, look, follow, answer, cancel, re-run, roll back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from quarterdeck.core.errors import NotFound
from quarterdeck.core.events import Json
from quarterdeck.core.ids import check_id
from quarterdeck.core.run import Run, Status
from quarterdeck.engine.answers import answer
from quarterdeck.engine.engine import Engine, Key
from quarterdeck.engine.submit import Submission, check_free_json, submit
from quarterdeck.engine.view import view
from quarterdeck.server.deps import Caller, CallerDep, Desk, DeskDep
from quarterdeck.server.promotion import check_can_roll_back
from quarterdeck.storage.missions import MissionFilter

router = APIRouter(prefix="/api", tags=["missions"])

WAIT_S_MAX = 60.0
EVENTS_MAX = 1000


class Given(BaseModel):
    """An answer to what a mission waits for.

    `choice` is the id of one of the offered choices, `digest` the one that was looked at, `data`
    what the choice needs (a test command, for example).
    """

    model_config = ConfigDict(extra="forbid")

    choice: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    reason: Annotated[str, StringConstraints(max_length=4000)] = ""
    digest: Annotated[str, StringConstraints(max_length=200)] | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class Rerun(BaseModel):
    """What changes before a mission is done again from one of its steps; the rest stays.

    From `consult` (the mentors) it goes on from the same commit; from `target` it begins anew on
    the target as it is by then.
    """

    model_config = ConfigDict(extra="forbid")

    brief: Annotated[str, StringConstraints(min_length=1, max_length=65_536)] | None = None
    constraints: dict[str, Any] | None = None
    implementer: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    implementer_options: dict[str, Any] | None = None
    auto_implement: bool | None = None
    step: Annotated[str, StringConstraints(max_length=64)] = "consult"
    reason: Annotated[str, StringConstraints(max_length=4000)] = ""


class Reason(BaseModel):
    """Why somebody does something."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, StringConstraints(max_length=4000)] = ""


def key_of(who: Caller, mission_id: str) -> Key:
    """The mission's key in the caller's workspace; raises InvalidInput for what is no id."""
    return who.workspace, check_id(mission_id, where="mission_id")


async def shown(engine: Engine, run: Run) -> dict[str, Json]:
    """The mission as the API shows it: nothing that is not on the disk yet."""
    found = view(run, engine.weights(run))
    await engine.durable((run.mission.workspace, run.mission.id))
    return found


async def settled(desk: Desk, key: Key, wait_s: float) -> Run:
    """The mission after it came to rest, or after `wait_s` seconds, whichever is first."""
    await desk.engine.idle_within(key, min(wait_s, WAIT_S_MAX))
    return await desk.engine.run(key)


Wait = Annotated[
    float,
    Query(ge=0, le=WAIT_S_MAX, description="Seconds to wait for the mission to come to rest."),
]


@router.post("/missions", status_code=201)
async def submit_mission(
    given: Submission, desk: DeskDep, who: CallerDep, wait_s: Wait = 0
) -> dict[str, Any]:
    """Submit a mission; it starts at once (ORC-1)."""
    run = await submit(desk.engine, desk.recipes, given, workspace=who.workspace, actor=who.actor)
    key = (run.mission.workspace, run.mission.id)
    return await shown(desk.engine, await settled(desk, key, wait_s))


@router.get("/missions")
async def list_missions(
    desk: DeskDep,
    who: CallerDep,
    status: Annotated[list[Status] | None, Query()] = None,
    before: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """Missions, newest first; `before` takes the `created_at` of the last one seen."""
    wanted = MissionFilter([s.value for s in status or ()], before, limit)
    missions = await desk.engine.missions.page(who.workspace, wanted)
    return {"missions": missions, "counts": await desk.engine.missions.counts(who.workspace)}


@router.get("/missions/{mission_id}")
async def show_mission(
    mission_id: str, desk: DeskDep, who: CallerDep, wait_s: Wait = 0
) -> dict[str, Any]:
    """One mission with its plan, steps, outputs and what it waits for."""
    key = key_of(who, mission_id)
    await desk.engine.run(key)
    return await shown(desk.engine, await settled(desk, key, wait_s))


@router.get("/missions/{mission_id}/events")
async def mission_events(
    mission_id: str,
    desk: DeskDep,
    who: CallerDep,
    after: Annotated[int, Query(ge=0, le=2**53 - 1)] = 0,
    wait_s: Annotated[float, Query(ge=0, le=WAIT_S_MAX)] = 0,
) -> dict[str, Any]:
    """The mission's events after a place in the log; waits for the next one when there is none."""
    key = key_of(who, mission_id)
    await desk.engine.run(key)
    found = await desk.engine.events(key, after=after)
    if not found and wait_s:
        await desk.bus.next(
            lambda one: (one.event.workspace, one.event.mission) == key, timeout_s=wait_s
        )
        found = await desk.engine.events(key, after=after)
    return {
        "events": [
            {
                "seq": one.seq,
                "type": one.event.type.value,
                "at": one.event.at,
                "actor": one.event.actor,
                "step": one.event.step,
                "data": one.event.data,
            }
            for one in found[:EVENTS_MAX]
        ]
    }


@router.get("/missions/{mission_id}/artifacts")
async def mission_artifacts(mission_id: str, desk: DeskDep, who: CallerDep) -> dict[str, Any]:
    """What the mission produced, oldest first."""
    key = key_of(who, mission_id)
    await desk.engine.run(key)
    return {"artifacts": await desk.engine.missions.artifacts(*key)}


@router.get("/artifacts/{sha256}", response_class=Response)
async def artifact_bytes(sha256: str, desk: DeskDep, who: CallerDep) -> Response:
    """The bytes of an artifact; never rendered by a browser as anything but a download."""
    row = await desk.engine.missions.artifact(who.workspace, sha256)
    if row is None:
        raise NotFound("There is no such artifact.", where="artifact")
    content = await desk.engine.artifacts.get(sha256)
    headers = {"Content-Disposition": "attachment"}
    return Response(content, media_type=row["media_type"], headers=headers)


@router.post("/missions/{mission_id}/answers")
async def answer_mission(
    mission_id: str, given: Given, desk: DeskDep, who: CallerDep, wait_s: Wait = 0
) -> dict[str, Any]:
    """Answer what the mission waits for; the first answer wins."""
    key = key_of(who, mission_id)
    await answer(
        desk.engine,
        key,
        (given.choice,),
        actor=who.actor,
        reason=given.reason,
        digest=given.digest,
        data=given.data,
    )
    return await shown(desk.engine, await settled(desk, key, wait_s))


@router.post("/missions/{mission_id}/cancel")
async def cancel_mission(
    mission_id: str, given: Reason, desk: DeskDep, who: CallerDep, wait_s: Wait = 0
) -> dict[str, Any]:
    """Stop a mission for good; its running commands are killed."""
    key = key_of(who, mission_id)
    await desk.engine.cancel(key, actor=who.actor, reason=given.reason)
    return await shown(desk.engine, await settled(desk, key, wait_s))


@router.post("/missions/{mission_id}/rerun")
async def rerun_mission(
    mission_id: str, given: Rerun, desk: DeskDep, who: CallerDep, wait_s: Wait = 0
) -> dict[str, Any]:
    """Do a waiting mission again from a step, with a changed brief or constraints (ORC-7)."""
    key = key_of(who, mission_id)
    changes = given.model_dump(exclude={"step", "reason"}, exclude_none=True)
    for field in ("constraints", "implementer_options"):
        check_free_json(changes.get(field, {}), field)
    await desk.engine.rewind(key, given.step, actor=who.actor, changes=changes, reason=given.reason)
    return await shown(desk.engine, await settled(desk, key, wait_s))


@router.post("/missions/{mission_id}/rollback", status_code=201)
async def roll_back_mission(
    mission_id: str, given: Reason, desk: DeskDep, who: CallerDep, wait_s: Wait = 0
) -> dict[str, Any]:
    """Take back what a mission promoted, as a mission of its own (ORC-11)."""
    original = await desk.engine.run(key_of(who, mission_id))
    await check_can_roll_back(desk.engine, original)
    undo = Submission(
        brief=f"Roll back {mission_id}. {given.reason}".strip(),
        recipe="rollback",
        repository=original.mission.repository,
        parent=mission_id,
    )
    run = await submit(desk.engine, desk.recipes, undo, workspace=who.workspace, actor=who.actor)
    key = (run.mission.workspace, run.mission.id)
    return await shown(desk.engine, await settled(desk, key, wait_s))
