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
    MISSION_BRIEF_DETECTED = "mission.brief.detected"
    MISSION_BRIEF_REJECTED = "mission.brief.rejected"
    MISSION_ORCHESTRATION_STARTED = "mission.orchestration.started"
    MISSION_PHASE_COMPLETED = "mission.phase.completed"
    MISSION_CHANGED = "mission.changed"
    MISSION_REWOUND = "mission.rewound"
    MISSION_CANCEL_REQUESTED = "mission.cancel.requested"
    MISSION_FINISHED = "mission.finished"
    MISSION_NOTIFICATION_SENT = "mission.notification.sent"
    MISSION_PROMOTED = "mission.promoted"
    MISSION_ROLLED_BACK = "mission.rolled_back"
    PLAN_EXTENDED = "plan.extended"
    STEP_STARTED = "step.started"
    STEP_PROGRESSED = "step.progressed"
    STEP_WAITING = "step.waiting"
    STEP_ANSWERED = "step.answered"
    STEP_WOKEN = "step.woken"
    STEP_FINISHED = "step.finished"
    STEP_FAILED = "step.failed"
    STEP_INTERRUPTED = "step.interrupted"
    STEP_SKIPPED = "step.skipped"
    STEP_CANCELLED = "step.cancelled"
    STEP_BLOCKED = "step.blocked"
    STEP_UNBLOCKED = "step.unblocked"
    MENTOR_ROUNDTABLE_STARTED = "mentor.roundtable.started"
    MENTOR_ROUNDTABLE_COMPLETED = "mentor.roundtable.completed"
    LEARNING_ARTIFACT_STORED = "learning.artifact.stored"
    MODEL_CALLED = "model.called"


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
