"""Event: an immutable fact, in order, with the exact bytes that are sealed.

Every fact of the product is one of `EventType`. The documented names (ORC-13) are used as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import orjson

Json: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list or dict with string keys."""


class EventType(StrEnum):
    """The names of all facts; the docstring of each member is its public documentation."""

    MISSION_SUBMITTED = "mission.submitted"
    """A mission came in; `mission` and its `plan` as validated."""
    MISSION_BRIEF_DETECTED = "mission.brief.detected"
    """A brief was found in the watched folder; its `path` and SHA-256."""
    MISSION_BRIEF_REJECTED = "mission.brief.rejected"
    """A file in the watched folder is not a usable brief; its `path` and the `reason`."""
    MISSION_ORCHESTRATION_STARTED = "mission.orchestration.started"
    """The engine has taken the mission on; its `recipe`."""
    MISSION_PHASE_COMPLETED = "mission.phase.completed"
    """Every step of a `phase` is over and went well."""
    MISSION_CHANGED = "mission.changed"
    """Somebody changed the brief or the constraints; the `changes`."""
    MISSION_REWOUND = "mission.rewound"
    """The mission goes on from an earlier step, `to`, for a `reason`."""
    MISSION_CANCEL_REQUESTED = "mission.cancel.requested"
    """Somebody asked to cancel; steps under way are being stopped."""
    MISSION_BLOCKED = "mission.blocked"
    """The engine itself failed at this mission, again and again; the `reason`."""
    MISSION_FINISHED = "mission.finished"
    """The mission is over; its final `status`, `outcome` and first `error`."""
    MISSION_NOTIFICATION_SENT = "mission.notification.sent"
    """People were told; `tests_passed`, `artifacts_available` and the `message`."""
    MISSION_PROMOTED = "mission.promoted"
    """The result is in the target branch; the promotion record."""
    MISSION_ROLLED_BACK = "mission.rolled_back"
    """A promotion was undone by an inverse merge; its commits and the `reason`."""
    PLAN_EXTENDED = "plan.extended"
    """A planner step added steps to the plan."""
    STEP_STARTED = "step.started"
    """An attempt at the step began."""
    STEP_PROGRESSED = "step.progressed"
    """The step says how far it is; `fraction` only when it is really known."""
    STEP_WAITING = "step.waiting"
    """The step asks a `question` and costs nothing until it is answered or `wake_at`."""
    STEP_ANSWERED = "step.answered"
    """Somebody answered; the `answer` with actor, choice and reason."""
    STEP_WOKEN = "step.woken"
    """The moment that a waiting step had set has come, without an answer."""
    STEP_FINISHED = "step.finished"
    """The step is done; its `outputs`, and the `patch` when it extends the plan."""
    STEP_FAILED = "step.failed"
    """An attempt failed with `error`; with `retry_at` there will be another."""
    STEP_INTERRUPTED = "step.interrupted"
    """The process ended in the middle of an attempt; it does not count as a failure."""
    STEP_SKIPPED = "step.skipped"
    """The step will not run; the `reason`."""
    STEP_CANCELLED = "step.cancelled"
    """The step was stopped; the `reason`."""
    STEP_BLOCKED = "step.blocked"
    """The step cannot run in this installation; the `reason`."""
    STEP_UNBLOCKED = "step.unblocked"
    """What blocked the step is gone."""
    MENTOR_ROUNDTABLE_STARTED = "mentor.roundtable.started"
    """Mentors are being asked; who, and why these."""
    MENTOR_ROUNDTABLE_COMPLETED = "mentor.roundtable.completed"
    """The mentors have answered or given up; the tally and the dissent."""
    LEARNING_ARTIFACT_STORED = "learning.artifact.stored"
    """A file of the learning memory was written; its `path` and SHA-256."""
    MODEL_CALLED = "model.called"
    """A model was called; tokens, time and price."""


@dataclass(slots=True)
class Event:
    """One fact before it is sealed: who did what to which mission, and when.

    `at` is RFC 3339. Its place in the log (`seq`) is given by the log when it is committed.
    """

    type: EventType
    at: str
    workspace: str
    actor: str
    mission: str | None
    step: str | None
    data: Mapping[str, Json]

    def body(self) -> bytes:
        """The exact bytes that are stored and hashed; they are never rebuilt from columns."""
        return orjson.dumps(
            {
                "type": self.type,
                "at": self.at,
                "workspace": self.workspace,
                "actor": self.actor,
                "mission": self.mission,
                "step": self.step,
                "data": self.data,
            }
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as read back from the log, with its place in it (1, 2, 3…)."""

    seq: int
    event: Event


def leaf_hash(body: bytes) -> bytes:
    """The RFC 6962 §2.1 leaf hash of an event's bytes."""
    return hashlib.sha256(b"\x00" + body).digest()


def event_from(body: bytes) -> Event:
    """The event that `body` holds; inverse of `Event.body`."""
    fields = orjson.loads(body)
    fields["type"] = EventType(fields["type"])
    return Event(**fields)
