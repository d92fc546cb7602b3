"""Every error a person can meet, as one tree.

QuarterdeckError
├─ InvalidInput        422  what was given does not fit; says what, where and what would
│  ├─ InvalidPlan      422  a plan or recipe breaks a rule; names the offending steps
│  └─ InvalidCondition 422  a condition does not parse or names something unknown
├─ TooLarge            413  over a published limit
├─ Unauthenticated     401  no token, or not one of ours
├─ Denied              403  the actor may not do this; names the rule
├─ NotFound            404
├─ Conflict            409  the state does not allow it (now)
├─ Refused             409  a safety rule stopped a change to somebody's repository
├─ StepFailed          500  a step could not do its work (recorded on the mission)
└─ Unavailable         503  a declared degraded state: log not writable, database gone
"""

from __future__ import annotations

from typing import ClassVar


class QuarterdeckError(Exception):
    """An error with a sentence for the person who meets it.

    `message` says what is wrong, `where` names the place (a field, a file, a step) and `hint`
    says what would be right. `status` is the HTTP status of the RFC 9457 problem it maps to.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    @property
    def code(self) -> str:
        """The stable, kebab-case name of this kind of error, as in the problem's `type`."""
        name = type(self).__name__
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.message}" if self.where else self.message]
        if self.hint:
            parts.append(self.hint)
        return " ".join(parts)


class InvalidInput(QuarterdeckError):
    """What was given does not fit."""

    status = 422
    title = "Invalid input"


class InvalidPlan(InvalidInput):
    """A plan breaks a rule: a cycle, an unknown need, a duplicate id, too many steps."""

    title = "Invalid plan"


class InvalidCondition(InvalidInput):
    """A condition does not parse, or names something that does not exist."""

    title = "Invalid condition"


class TooLarge(QuarterdeckError):
    """Something is over its published limit."""

    status = 413
    title = "Too large"


class Unauthenticated(QuarterdeckError):
    """The caller has not said who it is."""

    status = 401
    title = "Not signed in"


class Denied(QuarterdeckError):
    """A rule forbids this to this actor."""

    status = 403
    title = "Denied"


class NotFound(QuarterdeckError):
    """There is no such thing, or it is not yours to see."""

    status = 404
    title = "Not found"


class Conflict(QuarterdeckError):
    """The present state does not allow this."""

    status = 409
    title = "Conflict"


class Refused(Conflict):
    """A safety rule stopped a change to a repository; nothing was changed."""

    title = "Refused"


class StepFailed(QuarterdeckError):
    """A step could not do its work.

    `retry` says whether another attempt may help; the engine then backs off and tries again as
    long as the step has attempts left.
    """

    title = "Step failed"

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        retry: bool = False,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.retry = retry


class Unavailable(QuarterdeckError):
    """The product is in a declared degraded state; reads may still work."""

    status = 503
    title = "Temporarily unavailable"
