"""What was not fetched, and by which rule."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from quarterdeck.core.events import Json

BUDGET = "budget"
"""The rule of a miss that more budget would have fetched."""


@dataclass(frozen=True, slots=True)
class Miss:
    """A URL, the rule that kept it from being fetched, and why; `status` is the server's, if any."""

    url: str
    rule: str
    reason: str
    status: int | None = None

    def as_json(self) -> dict[str, Json]:
        return asdict(self)


class Refused(Exception):
    """A rule or a limit ended a fetch; it becomes a miss."""

    def __init__(self, rule: str, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason
        self.status = status


class NotConnected(Exception):
    """An address did not answer; another one of the same name may."""
