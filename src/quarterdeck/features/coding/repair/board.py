"""What is really known while a repair runs, for people to watch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from quarterdeck.core.events import Json


@dataclass(slots=True)
class Board:
    """The figures of one run; `budget_s` bounds it from `started` (monotonic seconds)."""

    budget_s: float
    started: float = field(default_factory=time.monotonic)
    message: str = "Starting"
    tests_run: int | None = None
    tests: int | None = None
    suspects: int | None = None
    tried: int = 0
    generated: int = 0
    best_partial: int = 0
    failing: int | None = None
    plausible: int = 0
    search_started: float | None = None
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    @property
    def left_s(self) -> float:
        return self.budget_s - self.elapsed_s

    def tell(self, message: str, figures: Mapping[str, Json]) -> None:
        self.message = message
        for name, value in figures.items():
            setattr(self, name, value)

    def snapshot(self) -> dict[str, Json]:
        """The figures as JSON; None where nothing is known yet."""
        rate = None
        if self.search_started is not None:
            searched_s = max(time.monotonic() - self.search_started, 0.001)
            rate = round(self.tried / searched_s, 1)
        return {
            "tests_run": self.tests_run,
            "tests": self.tests,
            "suspects": self.suspects,
            "candidates_tried": self.tried,
            "candidates_generated": self.generated,
            "candidates_per_s": rate,
            "best_partial": self.best_partial,
            "failing": self.failing,
            "plausible": self.plausible,
            "seconds_left": round(max(self.left_s, 0.0), 1),
        }
