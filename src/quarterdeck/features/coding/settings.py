"""What an installation decides about changing code; a mission can change none of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quarterdeck.llm.port import ModelRef


@dataclass(frozen=True, slots=True)
class CodingSettings:
    """Rounds before a person is asked, the time of one attempt in seconds, and what is allowed.

    `agent_model` is the model of the built-in agent when a mission names none; `cloud_allowed`
    whether it may be one in the cloud; `allow_weak` is the administrator's consent to run without
    the kernel's confinement; `readable` are places outside of the sandbox that implementers may
    read, `model_ports` loopback ports that a mission may open to its agent.
    """

    rounds_max: int = 3
    implement_budget_s: float = 60.0
    agent_model: ModelRef | None = None
    cloud_allowed: bool = False
    allow_weak: bool = False
    readable: tuple[Path, ...] = ()
    model_ports: frozenset[int] = frozenset()
