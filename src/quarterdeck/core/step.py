"""Step kinds: what a handler is, what it may say, and how safe it is to run again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from quarterdeck.core.events import Json
from quarterdeck.core.plan import Patch

BACKOFF_S_MAX = 300.0

Context = TypeVar("Context")


class Effect(StrEnum):
    """What running a step twice would do (ARCHITECTURE §3)."""

    PURE = "pure"
    """Run again freely."""
    IDEMPOTENT = "idempotent"
    """Run again with the same key; the handler makes the second run harmless."""
    EXTERNAL = "external"
    """After a crash it stops for a person's review instead of running blindly again."""


@dataclass(frozen=True, slots=True)
class Done:
    """The step is finished; `outputs` is a JSON object that later steps and conditions read."""

    outputs: Mapping[str, Json] = field(default_factory=dict)
    patch: Patch | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to answer a question: `id` for programs, `label` for people."""

    id: str
    label: str


@dataclass(frozen=True, slots=True)
class Wait:
    """The step waits for a person (or another mission), at no cost, until it is answered.

    The handler is called again with `ctx.answers` holding the answers given so far. `detail` is
    shown to the person (links, digests); `digest`, when set, must be repeated by an approving
    answer, so that nobody approves something that changed meanwhile. `until_s` seconds from now
    the step is woken without an answer.
    """

    question: str
    choices: tuple[Choice, ...]
    detail: Mapping[str, Json] = field(default_factory=dict)
    digest: str | None = None
    until_s: float | None = None


Outcome = Done | Wait


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody answered to a waiting step."""

    choice: str
    actor: str
    at: str
    reason: str = ""
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepKind(Generic[Context]):
    """A handler and its manners.

    `run` is called with the step's context and returns an `Outcome`, or raises `StepFailed`.
    `timeout_s` bounds one attempt; `attempts_max` counts failures only, never interruptions by a
    crash; `weight_s` is the expected duration until history knows better; `backoff_s` is the
    pause after the first failure; `concurrency_max` bounds how many run at once in this process.
    """

    name: str
    run: Callable[[Context], Awaitable[Outcome]]
    effect: Effect
    version: int = 1
    timeout_s: float = 600.0
    attempts_max: int = 1
    weight_s: float = 5.0
    backoff_s: float = 1.0
    concurrency_max: int | None = None

    def retry_after_s(self, failures: int) -> float:
        """How long to back off after the nth failure: doubling, at most five minutes."""
        return min(self.backoff_s * 2.0 ** (failures - 1), BACKOFF_S_MAX)
