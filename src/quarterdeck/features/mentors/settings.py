"""What a workspace decides about its mentors; a brief can change none of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.mission import TaskKind
from quarterdeck.features.mentors.consensus import QUORUM
from quarterdeck.features.mentors.routing import MENTORS_MAX, SEED_TABLE, Mentor
from quarterdeck.llm.port import ModelRef

SAMPLES_MAX = 5


@dataclass(frozen=True, slots=True)
class MentorSettings:
    """Who is asked, how often, for how long.

    `samples` per mentor (None: 1 for the bundled model, 2 for others); `mentor_timeout_s` bounds
    the time one mentor takes for all its samples, `plan_timeout_s` one draft of the plan; `grace_s` is how long
    the rest is waited for once the result cannot change. `weights` is each model's vote (default
    1), `rho` the measured correlation of their mistakes (None: unknown), `embedding` the model that
    compares texts (None: words are compared). Times are in seconds.

    Raises:
        InvalidInput: when a number is out of its range.
    """

    table: Mapping[TaskKind, tuple[str, ...]] = field(default_factory=lambda: SEED_TABLE)
    cloud_allowed: bool = False
    samples: int | None = None
    temperature: float = 0.7
    seed: int = 1
    mentor_timeout_s: float = 120.0
    plan_timeout_s: float = 180.0
    grace_s: float = 15.0
    quorum: int = QUORUM
    weights: Mapping[str, float] = field(default_factory=dict)
    rho: float | None = None
    embedding: ModelRef | None = None

    def __post_init__(self) -> None:
        _within("samples", self.samples, 1, SAMPLES_MAX)
        _within("temperature", self.temperature, 0, 2)
        _within("mentor_timeout_s", self.mentor_timeout_s, 0.01, 3600)
        _within("plan_timeout_s", self.plan_timeout_s, 0.01, 3600)
        _within("grace_s", self.grace_s, 0, 3600)
        _within("quorum", self.quorum, 1, MENTORS_MAX)
        _within("rho", self.rho, 0, 1)
        for model, weight in self.weights.items():
            _within(f"weights.{model}", weight, 0, 10)

    def samples_of(self, mentor: Mentor) -> int:
        """How many independent answers this mentor gives."""
        return self.samples or (1 if mentor.ref.demonstration else 2)

    def weight_of(self, ref: ModelRef) -> float:
        """Its vote: by full name, else by the name without provider, else 1."""
        return self.weights.get(str(ref), self.weights.get(ref.name, 1.0))


def _within(where: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InvalidInput(
            f"{value} is out of range.",
            where=f"mentors.{where}",
            hint=f"Give a number from {low} to {high}.",
        )
