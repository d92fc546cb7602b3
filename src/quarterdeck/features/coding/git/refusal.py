"""Why a change to somebody's branch was refused; nothing was changed then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from quarterdeck.core.errors import Refused
from quarterdeck.features.coding.git.rules import SHOWN_MAX, shown


class Reason(StrEnum):
    """What stopped a promotion or a rollback."""

    TARGET_MOVED = "target_moved"
    """The branch is not where the proof was made: prove again on its new tip."""
    UNPROVEN_CHANGES = "unproven_changes"
    """The mission's branch went on after the proof."""
    CONFLICT = "conflict"
    UNRELATED = "unrelated"
    """The target's history was replaced: there is no common commit."""
    NOTHING_TO_DO = "nothing_to_do"
    DIRTY_CHECKOUT = "dirty_checkout"
    OPERATION_IN_PROGRESS = "operation_in_progress"
    """A merge, rebase or the like is under way in the checkout."""
    REJECTED = "rejected"
    """The target's git did not take it, for the reason in the message."""
    ALREADY_PROMOTED = "already_promoted"
    ROLLED_BACK = "rolled_back"
    NOT_IN_BRANCH = "not_in_branch"


@dataclass(frozen=True, slots=True)
class LaterCommit:
    """A commit after a promotion that touched the same files; `mission_id` if a mission made it."""

    commit: str
    subject: str
    mission_id: str | None


class ChangeRefused(Refused):
    """A promotion or rollback was refused and nothing was changed.

    `files` are those in conflict or dirty, `later` the commits that stand in a rollback's way.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        hint: str,
        files: Iterable[str] = (),
        later: tuple[LaterCommit, ...] = (),
    ) -> None:
        self.reason = reason
        self.files = tuple(shown(file) for file in files)
        self.later = later
        names = ", ".join(self.files[:SHOWN_MAX])
        more = f" and {len(self.files) - SHOWN_MAX} more" if len(self.files) > SHOWN_MAX else ""
        text = f"{message}: {names}{more}." if names else f"{message}."
        super().__init__(text, where="repository", hint=hint)
