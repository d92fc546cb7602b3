"""What a mission of this recipe states: objective, scope, budget and, if it says so, the tool."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.events import Json
from quarterdeck.core.mission import Mission
from quarterdeck.features.objectives.budget import Budget, parse_budget
from quarterdeck.features.objectives.scope import Scope, parse_scope
from quarterdeck.features.objectives.terms import words

OBJECTIVE_CHARS_MAX = 4000
TOOL_NAMES = ("site_search", "web_search")


@dataclass(frozen=True, slots=True)
class Charter:
    """What somebody approves; `tool` is None when the choice is left to the product."""

    objective: str
    scope: Scope
    budget: Budget
    tool: str | None

    def as_json(self) -> dict[str, Json]:
        return {
            "objective": self.objective,
            "scope": self.scope.as_json(),
            "budget": self.budget.model_dump(),
            "tool": self.tool,
        }

    @property
    def digest(self) -> str:
        """What an approval is bound to: SHA-256 of the canonical JSON."""
        return hashlib.sha256(orjson.dumps(self.as_json(), option=orjson.OPT_SORT_KEYS)).hexdigest()


def charter_of(mission: Mission) -> Charter:
    """The charter in a mission's brief and constraints.

    Raises:
        InvalidInput: naming what is missing or does not fit.
    """
    return parse_charter(mission.brief, mission.constraints)


def parse_charter(objective: str, constraints: Mapping[str, Json]) -> Charter:
    """The charter of an objective and `{"scope": …, "budget": …, "tool": …}`.

    Raises:
        InvalidInput: naming what is missing or does not fit.
    """
    if len(objective) > OBJECTIVE_CHARS_MAX or not words(objective):
        raise InvalidInput(
            f"It must hold words to look for, in at most {OBJECTIVE_CHARS_MAX} characters.",
            where="objective",
        )
    unknown = sorted(set(constraints) - {"scope", "budget", "tool"})
    if unknown:
        raise InvalidInput(
            f"An objective mission has no constraint {unknown[0][:80]!r}.",
            where="constraints",
            hint="It has scope, budget and tool.",
        )
    tool = constraints.get("tool")
    if tool is not None and tool not in TOOL_NAMES:
        raise InvalidInput(
            f"There is no tool {str(tool)[:80]!r}.",
            where="constraints.tool",
            hint=f"One of: {', '.join(TOOL_NAMES)}.",
        )
    return Charter(
        objective.strip(),
        parse_scope(constraints.get("scope")),
        parse_budget(constraints.get("budget")),
        tool,
    )
