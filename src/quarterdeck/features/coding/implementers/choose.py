"""Who implements: the one named, else the best that this installation has for the task. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from quarterdeck.core.errors import InvalidInput

AUTO = "auto"


class Name(StrEnum):
    """The implementers, as `Mission.implementer` names them."""

    REPAIR = "repair"
    AGENT = "agent"
    ACP = "acp"
    COMMAND = "command"
    BY_HAND = "by_hand"
    """A person, in the sandbox (ORC-7)."""


class Model(StrEnum):
    """The best model the installation offers for writing code."""

    NONE = "none"
    DEMONSTRATION = "demonstration"
    """It shows the works and cannot write code that is any good."""
    UNPROVEN = "unproven"
    """A real model, of which nothing says that it can call tools or write code."""
    CAPABLE = "capable"


NEEDS_OPTIONS = frozenset({Name.ACP, Name.COMMAND})
"""These need to be told what to start, so `auto` never picks them."""
REPAIRABLE = frozenset({"python"})
"""Ecosystems that `repair` can read."""
REAL = frozenset({Model.UNPROVEN, Model.CAPABLE})


@dataclass(frozen=True, slots=True)
class Situation:
    """What the choice depends on: `red` says whether tests are known that fail now."""

    ecosystem: str
    red: bool
    model: Model


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who does it, why, and who gets the handover next when it does not succeed."""

    name: Name
    reason: str
    then: tuple[Name, ...] = ()


def choose(wanted: str, situation: Situation) -> Chosen:
    """The implementer for a mission that wants `wanted` (ORC-8).

    One that is named is taken, and a person is next. `auto` prefers what can be checked: red Python
    tests and no capable model → `repair`; a real model → `agent`; then `repair`; then a person.

    Raises:
        InvalidInput: there is no implementer of that name.
    """
    if wanted != AUTO:
        return _named(wanted)
    order = _order(situation)
    first, *rest = order
    return Chosen(first, _REASONS[first](situation), tuple(rest))


def _named(wanted: str) -> Chosen:
    try:
        name = Name(wanted)
    except ValueError:
        known = ", ".join([AUTO, *Name])
        raise InvalidInput(
            f"There is no implementer {wanted[:80]!r}.", where="implementer", hint=f"Use {known}."
        ) from None
    then = () if name is Name.BY_HAND else (Name.BY_HAND,)
    return Chosen(name, "The mission names it.", then)


def _order(situation: Situation) -> tuple[Name, ...]:
    repairable = situation.ecosystem in REPAIRABLE
    real = situation.model in REAL
    if repairable and situation.red and situation.model is not Model.CAPABLE:
        middle = (Name.AGENT,) if real else ()
        return (Name.REPAIR, *middle, Name.BY_HAND)
    if real:
        middle = (Name.REPAIR,) if repairable else ()
        return (Name.AGENT, *middle, Name.BY_HAND)
    return (Name.REPAIR, Name.BY_HAND) if repairable else (Name.BY_HAND,)


def _why_repair(situation: Situation) -> str:
    tests = "Tests fail now" if situation.red else "No failing test is known yet"
    return f"{tests}, it is a Python project, and {_MODELS[situation.model]}."


def _why_agent(situation: Situation) -> str:
    return f"There is a model for it: {_MODELS[situation.model]}."


def _why_by_hand(situation: Situation) -> str:
    ecosystem = situation.ecosystem or "unknown"
    return f"Repair does not read {ecosystem} projects, and {_MODELS[situation.model]}."


_MODELS = {
    Model.NONE: "no model is installed",
    Model.DEMONSTRATION: "only the demonstration model is installed",
    Model.UNPROVEN: "a model is installed that has not shown yet that it writes code well",
    Model.CAPABLE: "a capable model is installed",
}
_REASONS = {Name.REPAIR: _why_repair, Name.AGENT: _why_agent, Name.BY_HAND: _why_by_hand}
