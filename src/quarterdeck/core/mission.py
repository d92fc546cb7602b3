"""Mission: what is wanted, and how we shall know."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from quarterdeck.core.ids import MissionId, WorkspaceId

BRIEF_MAX = 65_536
CONSTRAINTS_BYTES_MAX = 262_144
CONSTRAINTS_DEPTH_MAX = 16


class Severity(StrEnum):
    """How much it matters, most first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class TaskKind(StrEnum):
    """What sort of thinking a brief asks for; decides which mentors are asked (ORC-3)."""

    ARCHITECTURE = "architecture"
    CODE = "code"
    DEBUGGING = "debugging"
    PLANNING = "planning"
    REVIEW = "review"


class Mission(BaseModel):
    """One unit of work with a brief, a plan and a result.

    With `hold` it waits for somebody to start it, without `auto_implement` for somebody to let it
    change anything. `repository` is a path or URL of the target, or None for a new, empty one; `target_branch` is
    the branch that a promotion moves (None: the one checked out there). `implementer` names who
    writes the change (`auto` lets the product choose), and `implementer_options` is handed to it.
    `parent` is the mission this one came from (a rollback, a re-run).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: MissionId
    workspace: WorkspaceId
    brief: Annotated[str, StringConstraints(min_length=1, max_length=BRIEF_MAX)]
    constraints: dict[str, Any] = Field(default_factory=dict)
    auto_implement: bool = False
    hold: bool = False
    recipe: str = "solve"
    repository: str | None = None
    target_branch: str | None = None
    implementer: str = "auto"
    implementer_options: dict[str, Any] = Field(default_factory=dict)
    severity: Severity = Severity.MEDIUM
    task_kind: TaskKind | None = None
    parent: MissionId | None = None
    created_by: str
    created_at: str

    @field_validator("brief")
    @classmethod
    def _brief_says_something(cls, brief: str) -> str:
        if not brief.strip():
            raise ValueError("the brief is empty; say what is wanted and how we shall know")
        if "\x00" in brief:
            raise ValueError("the brief holds a NUL character")
        return brief
