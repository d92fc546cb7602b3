"""Answers an agent's permission requests by rule: inside the sandbox yes, anything else no."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

READING = frozenset({"read", "search", "think"})
WRITING = frozenset({"edit", "delete", "move"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A permission request, reduced to what the answer depends on.

    `kind` is the protocol's tool kind, `paths` every file the request names, `options` maps the id
    of each answer on offer to its kind (`allow_once`, `allow_always`, `reject_once`, …).
    """

    title: str
    kind: str | None
    paths: Sequence[str]
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer: an option's id, or None to cancel; `reason` is for the record."""

    allowed: bool
    option: str | None
    reason: str


def decide(asked: Asked, *, inside: Callable[[str], bool], allow_commands: bool) -> Decision:
    """Allow reading and writing where `inside` says so, commands if wanted, and nothing else.

    An answer holds once: "always" is never chosen, so that the agent has to ask again. The answers
    are manners, not walls; the walls are the confinement the agent runs in.
    """
    refusal = _refusal(asked, inside=inside, allow_commands=allow_commands)
    if refusal is None:
        if (option := _option(asked, "allow_once")) is not None:
            return Decision(True, option, "It stays inside the sandbox.")
        refusal = "The agent does not offer to allow it once."
    option = _option(asked, "reject_once") or _option(asked, "reject_always")
    return Decision(False, option, refusal)


def _refusal(asked: Asked, *, inside: Callable[[str], bool], allow_commands: bool) -> str | None:
    outside = [path for path in asked.paths if not inside(path)]
    if outside:
        return f"{outside[0][:200]} is not inside the sandbox."
    if asked.kind in READING:
        return None
    if asked.kind in WRITING:
        return None if asked.paths else "It does not say which file it would change."
    if asked.kind == "execute":
        return None if allow_commands else "This mission does not allow commands."
    return f"No rule allows {asked.kind or 'a request of no kind'}."


def _option(asked: Asked, kind: str) -> str | None:
    return next((id for id, offered in asked.options.items() if offered == kind), None)
