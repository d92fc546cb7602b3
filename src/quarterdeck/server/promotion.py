"""What a mission has promoted, and whether that can still be taken back."""

from __future__ import annotations

from quarterdeck.core.errors import Conflict
from quarterdeck.core.events import EventType, Json
from quarterdeck.core.run import Run
from quarterdeck.engine.engine import Engine

ROLLBACKS_MAX = 100_000


def promotion_record(run: Run) -> dict[str, Json] | None:
    """The record of what the mission promoted, None as long as it has promoted nothing."""
    records = [o["record"] for o in run.outputs().values() if o.get("promoted") is True]
    return dict(records[-1]) if records else None


async def check_can_roll_back(engine: Engine, run: Run) -> None:
    """Raise Conflict when the mission has promoted nothing, or was rolled back before."""
    mission = run.mission
    if promotion_record(run) is None:
        raise Conflict(
            f"{mission.id} has promoted nothing, so there is nothing to roll back.",
            where="mission",
        )
    told = await engine.log.read(
        workspace=mission.workspace,
        types=[EventType.MISSION_ROLLED_BACK.value],
        limit=ROLLBACKS_MAX,
    )
    for one in told:
        if one.event.data.get("mission_id") == mission.id:
            raise Conflict(
                f"{mission.id} was rolled back already, by {one.event.mission}.",
                where="mission",
                hint="To bring the change back, start a new mission.",
            )
