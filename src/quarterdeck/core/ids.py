"""Identifiers: what a mission, a workspace and an actor may be called."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import StringConstraints

from quarterdeck.core.errors import InvalidInput

ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""Lower-case letters, digits, `-` and `_`, at most 64, not starting with a sign: safe as a file
name, a branch name and a URL segment on every system."""

MissionId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
WorkspaceId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
StepId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]

DEFAULT_WORKSPACE = "default"
OWNER = "user:owner"
"""The actor of a single-user installation; other actors are `agent:NAME` and `system`."""
SYSTEM = "system"

_ID = re.compile(ID_PATTERN)


def check_id(value: str, *, where: str) -> str:
    """Return `value` if it is a valid identifier, else raise `InvalidInput` naming `where`."""
    if _ID.fullmatch(value):
        return value
    shown = value if len(value) <= 80 else f"{value[:77]}..."
    raise InvalidInput(
        f"{shown!r} is not a valid id.",
        where=where,
        hint="Use 1 to 64 lower-case letters, digits, '-' or '_', starting with a letter or digit.",
    )


def mission_id_at(moment: datetime, nth: int = 1) -> str:
    """The id of a mission submitted at `moment` (ORC-1); `nth` tells apart those of one second."""
    stem = moment.astimezone(UTC).strftime("mission_%Y%m%d_%H%M%S")
    return stem if nth == 1 else f"{stem}_{nth}"
