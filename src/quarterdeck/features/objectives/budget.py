"""What a mission may use up, as stated, within what the installation allows; and what it used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from quarterdeck.core.events import Json
from quarterdeck.core.validated import validated


class Budget(BaseModel):
    """What the mission states (`constraints.budget`); None where it says nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_requests: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_bytes: Annotated[int, Field(ge=1, le=10**12)] | None = None
    max_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one mission may use: requests, bytes received, seconds."""

    requests: int
    size_bytes: int
    seconds: float

    def as_json(self) -> dict[str, Json]:
        return {
            "max_requests": self.requests,
            "max_bytes": self.size_bytes,
            "max_seconds": self.seconds,
        }


def parse_budget(given: Any) -> Budget:
    """The stated budget; nothing given is a budget that says nothing.

    Raises:
        InvalidInput: naming the field that does not fit.
    """
    if given is None:
        return Budget()
    fields = given if isinstance(given, dict) else {"budget": given}
    return validated(Budget, fields, where="budget")


def allowance(stated: Budget, ceiling: Allowance) -> Allowance:
    """The smaller of what is stated and what the installation allows, each by itself."""
    return Allowance(
        min(stated.max_requests or ceiling.requests, ceiling.requests),
        min(stated.max_bytes or ceiling.size_bytes, ceiling.size_bytes),
        min(stated.max_seconds or ceiling.seconds, ceiling.seconds),
    )


class Meter:
    """Counts what is used; `monotonic_s` is the clock's."""

    def __init__(self, allowed: Allowance, monotonic_s: Callable[[], float]) -> None:
        self.allowed = allowed
        self.requests = 0
        self.size_bytes = 0
        self._monotonic_s = monotonic_s
        self._begun_s = monotonic_s()

    @property
    def spent_s(self) -> float:
        return self._monotonic_s() - self._begun_s

    @property
    def left_s(self) -> float:
        return max(0.0, self.allowed.seconds - self.spent_s)

    @property
    def left_bytes(self) -> int:
        return max(0, self.allowed.size_bytes - self.size_bytes)

    def exhausted(self) -> str | None:
        """Which part of the budget is used up: `requests`, `bytes` or `seconds`."""
        if self.requests >= self.allowed.requests:
            return "requests"
        if not self.left_bytes:
            return "bytes"
        return "seconds" if not self.left_s else None

    def as_json(self) -> dict[str, Json]:
        return {
            "requests": self.requests,
            "bytes": self.size_bytes,
            "seconds": round(self.spent_s, 3),
        }
