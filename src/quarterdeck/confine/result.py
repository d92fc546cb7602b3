"""How a confined command ended."""

from __future__ import annotations

from dataclasses import dataclass

from quarterdeck.confine.policy import Level, StoppedBy


@dataclass(frozen=True, slots=True)
class Ending:
    """How the main process ended and what the whole tree used; nothing of it is alive any more.

    Exactly one of `exit_code` and `signal` is set, except that a killed launcher leaves both None.
    `stopped_by` names the limit that ended it, None when it ended by itself. `cpu_s` is the tree's
    CPU time. `memory_peak_bytes` is the highest resident memory seen, `processes_peak` the most
    processes seen at once; both are samples, and a short peak can be missed.
    """

    exit_code: int | None
    signal: int | None
    stopped_by: StoppedBy | None
    duration_s: float
    cpu_s: float
    memory_peak_bytes: int
    processes_peak: int
    level: Level

    @property
    def timed_out(self) -> bool:
        return self.stopped_by is StoppedBy.TIMEOUT


@dataclass(frozen=True, slots=True)
class CommandResult(Ending):
    """An ending with what the command said.

    `output` is stdout and stderr in the order of arrival; each of the three is capped on its own,
    with head and tail kept and a line that says how much is missing between. `truncated` says
    whether that happened to any of them. `output_bytes` is how much there was.
    """

    output: bytes
    stdout: bytes
    stderr: bytes
    truncated: bool
    output_bytes: int

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.exit_code == 0 and self.stopped_by is None
