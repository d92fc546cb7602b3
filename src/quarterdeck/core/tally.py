"""Tally: what follows from the states of a run's steps, kept up to date one move at a time.

Asking all 500 steps of a plan after each of them would make its cost grow with the square. The
tally only repeats what the states say; it can be made again from them at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from quarterdeck.core.events import Json
from quarterdeck.core.plan import Plan
from quarterdeck.core.status import ENDED, SATISFIED, Status, StepState

_STATUSES = tuple(Status)
_ACTIVE = frozenset({Status.RUNNING, Status.WAITING, Status.BLOCKED})


class Tally:
    """Counts and sets over the steps of one plan."""

    def __init__(self, plan: Plan, steps: Mapping[str, StepState]) -> None:
        shape = plan.shape
        self.specs = shape.specs
        self.phases = shape.phases
        self.free: set[str] = set(shape.roots)
        """Queued steps whose needs are all done or skipped."""
        self.active: set[str] = set()
        """Steps that are running, waiting or blocked."""
        self.waking: set[str] = set()
        """Steps that are not over and have a moment at which they want to move."""
        self.left = len(self.specs)
        """How many steps are not over."""
        self.outputs: dict[str, Mapping[str, Json]] = {}
        """The outputs of every finished step."""
        self.counts: dict[Status, int] = dict.fromkeys(_STATUSES, 0)
        self.counts[Status.QUEUED] = self.left
        self._steps = steps
        self._place = shape.place
        self._followers = shape.followers
        self._unmet = shape.needs_count.copy()
        for step_id, state in steps.items():
            if state.status is not Status.QUEUED or state.wake_at is not None:
                self.moved(step_id, Status.QUEUED)

    def moved(self, step_id: str, before: Status) -> None:
        """Take note that a step which was `before` now is as its state says."""
        state = self._steps[step_id]
        now = state.status
        self.counts[before] -= 1
        self.counts[now] += 1
        if before is Status.QUEUED:
            self.free.discard(step_id)
        elif before in _ACTIVE:
            self.active.discard(step_id)
        if now in _ACTIVE:
            self.active.add(step_id)
        elif now is Status.QUEUED:
            if not self._unmet[step_id]:
                self.free.add(step_id)
        else:
            self._over(step_id, state)
        if state.wake_at is None or now in ENDED:
            self.waking.discard(step_id)
        else:
            self.waking.add(step_id)

    def ordered(self, step_ids: Iterable[str]) -> list[str]:
        """These steps in plan order."""
        return sorted(step_ids, key=self._place.__getitem__)

    def _over(self, step_id: str, state: StepState) -> None:
        """A step is over for good; only a new tally could tell otherwise."""
        self.left -= 1
        if state.status is Status.DONE:
            self.outputs[step_id] = state.outputs
        if state.status in SATISFIED:
            for follower in self._followers[step_id]:
                self._unmet[follower] -= 1
                if not self._unmet[follower] and self._steps[follower].status is Status.QUEUED:
                    self.free.add(follower)
