"""The one door in: what a person gives becomes a mission with a plan (ORC-1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from quarterdeck.core.clock import iso
from quarterdeck.core.errors import Conflict, InvalidInput
from quarterdeck.core.ids import MissionId, mission_id_at
from quarterdeck.core.mission import (
    BRIEF_MAX,
    CONSTRAINTS_BYTES_MAX,
    CONSTRAINTS_DEPTH_MAX,
    Mission,
    Severity,
    TaskKind,
)
from quarterdeck.core.run import Run
from quarterdeck.core.validated import check_json, validated
from quarterdeck.engine.engine import Engine
from quarterdeck.engine.recipes import Recipe, find_recipe

SAME_SECOND_MAX = 1000


class Submission(BaseModel):
    """What may be given for a new mission; only the brief is needed.

    `mission_id` is made from the time when it is left out. The other fields are those of
    `Mission`.
    """

    model_config = ConfigDict(extra="forbid")

    mission_id: MissionId | None = None
    brief: Annotated[str, StringConstraints(min_length=1, max_length=BRIEF_MAX)]
    constraints: dict[str, Any] = Field(default_factory=dict)
    auto_implement: Annotated[bool, Field(strict=True)] = False
    hold: Annotated[bool, Field(strict=True)] = False
    recipe: str = "solve"
    repository: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    target_branch: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    implementer: Annotated[str, StringConstraints(min_length=1, max_length=64)] = "auto"
    implementer_options: dict[str, Any] = Field(default_factory=dict)
    severity: Severity = Severity.MEDIUM
    task_kind: TaskKind | None = None
    parent: MissionId | None = None


async def submit(
    engine: Engine,
    recipes: Mapping[str, Recipe],
    given: Submission,
    *,
    workspace: str,
    actor: str,
) -> Run:
    """Make the mission and start it.

    Raises:
        InvalidInput, TooLarge: naming the field.
        NotFound: when there is no such recipe.
        Conflict: when the workspace has a mission of this id.
        Unavailable: when the log cannot be written.
    """
    for field in ("constraints", "implementer_options"):
        check_free_json(getattr(given, field), field)
    recipe = find_recipe(recipes, given.recipe)
    fields = given.model_dump(exclude={"mission_id"})
    now = engine.clock.now()
    for _ in range(SAME_SECOND_MAX):
        nth = 1 if given.mission_id else engine.nth_in(mission_id_at(now))
        mission_id = given.mission_id or mission_id_at(now, nth)
        mission = validated(
            Mission,
            {
                **fields,
                "id": mission_id,
                "workspace": workspace,
                "created_by": actor,
                "created_at": iso(now),
            },
        )
        try:
            return await engine.submit(mission, recipe.plan)
        except Conflict:
            if given.mission_id is not None:
                raise
    raise Conflict(f"{SAME_SECOND_MAX} missions were submitted in this second.", where="mission_id")


def check_free_json(value: Mapping[str, Any], field: str) -> None:
    """Raise InvalidInput or TooLarge, naming the field, unless it is JSON within the limits."""
    try:
        size = len(orjson.dumps(value))
    except (TypeError, orjson.JSONEncodeError) as error:
        raise InvalidInput(f"It is not JSON: {error}.", where=field) from None
    check_json(
        value,
        where=field,
        bytes_max=CONSTRAINTS_BYTES_MAX,
        depth_max=CONSTRAINTS_DEPTH_MAX,
        size_bytes=size,
    )
