"""How strongly this machine can confine, and why not more strongly."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import lru_cache

from quarterdeck.confine.policy import Level
from quarterdeck.confine.syscalls import AUDIT_ARCH
from quarterdeck.core.errors import Unavailable

if sys.platform == "linux":
    from quarterdeck.confine.launcher import kernel


@dataclass(frozen=True, slots=True)
class LevelReport:
    """What `quarterdeck doctor` prints.

    `level` is what commands get without anybody's consent, except that `Level.WEAK` needs
    `allow_weak`. `reason` is a sentence for a person; `landlock_abi` is 0 where the kernel has
    none; `network` says whether loopback TCP can be offered.
    """

    level: Level
    reason: str
    platform: str
    machine: str
    landlock_abi: int
    seccomp: bool
    network: bool


@lru_cache(maxsize=1)
def probe() -> LevelReport:
    """Look at this machine once; `Level.NAMESPACE` is only known after a command has run."""
    machine = os.uname().machine if hasattr(os, "uname") else "unknown"
    if sys.platform != "linux":
        return _report(machine, 0, seccomp=False)
    return _report(machine, kernel.landlock_abi(), seccomp=kernel.seccomp_available())


def _report(machine: str, abi: int, *, seccomp: bool) -> LevelReport:
    level, reason = _judged(sys.platform, machine, abi, seccomp=seccomp)
    return LevelReport(
        level=level,
        reason=reason,
        platform=sys.platform,
        machine=machine,
        landlock_abi=abi,
        seccomp=seccomp,
        network=abi >= 4,
    )


def _judged(platform: str, machine: str, abi: int, *, seccomp: bool) -> tuple[Level, str]:
    if platform != "linux":
        return Level.NONE, f"Commands can be confined on Linux only; this is {platform}."
    if machine not in AUDIT_ARCH:
        known = ", ".join(sorted(AUDIT_ARCH))
        return Level.NONE, f"There is no system call table for {machine}; there is for {known}."
    if not seccomp:
        return Level.NONE, "The kernel has no seccomp filters that ask a broker (Linux 5.0)."
    if abi == 0:
        return Level.WEAK, (
            "The kernel has no Landlock (Linux 5.13, and 'landlock' among the boot option lsm=): "
            "a command could read and write every file of its user."
        )
    return Level.PROCESS, f"Landlock ABI {abi}, seccomp, resource limits, no capabilities."


def require(report: LevelReport, *, allow_weak: bool, inet: bool) -> None:
    """Refuse what cannot be kept.

    Raises:
        Unavailable: when the machine cannot confine, cannot keep files apart and nobody
            consented, or cannot bound TCP although the command is to have some.
    """
    if report.level is Level.NONE:
        raise Unavailable(
            report.reason, where="confinement", hint="Run the server on Linux 5.13 or newer."
        )
    if report.level is Level.WEAK and not allow_weak:
        raise Unavailable(
            report.reason,
            where="confinement",
            hint="Use a kernel with Landlock, or let an administrator allow the weak level.",
        )
    if inet and not report.network:
        raise Unavailable(
            "Loopback TCP cannot be bounded on this kernel.",
            where="confinement.network",
            hint="It needs Landlock ABI 4 (Linux 6.7); run the command without network.",
        )
