"""What a command started for a task may touch: the sandbox and its scratch space, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quarterdeck.confine import Confinement, Limits, Network
from quarterdeck.features.coding.implementers.port import Task

PATH_PLACEHOLDER = "{path}"


@dataclass(frozen=True, slots=True)
class Grants:
    """What the installation, never a mission, lets the processes of implementers have.

    `readable` are places outside of the sandbox that agents and tools are installed in.
    `model_ports` are the loopback ports of model servers which a mission may open to its agent.
    `allow_weak` is the administrator's consent to run without Landlock.
    """

    readable: tuple[Path, ...] = ()
    model_ports: frozenset[int] = frozenset()
    allow_weak: bool = False
    limits: Limits = field(default_factory=Limits)


def confinement_of(
    task: Task,
    grants: Grants,
    *,
    loopback_ports: Sequence[int] = (),
    limits: Limits | None = None,
) -> Confinement:
    """Writes below the task's sandbox and scratch space only; HOME and TMPDIR in the latter."""
    return Confinement(
        readable=grants.readable,
        writable=(task.work_dir, task.path),
        network=Network.loopback(*loopback_ports),
        limits=limits or grants.limits,
        allow_weak=grants.allow_weak,
    )


def fill_in(argv: Sequence[str], task: Task) -> list[str]:
    """The command with `{path}` replaced by the sandbox's path."""
    return [argument.replace(PATH_PLACEHOLDER, str(task.path)) for argument in argv]
