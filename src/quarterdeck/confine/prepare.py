"""From a policy to the launcher's orders: checks what was given and works everything out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from quarterdeck.confine import landlock, seccomp, toolchain
from quarterdeck.confine.landlock import Access
from quarterdeck.confine.level import LevelReport
from quarterdeck.confine.policy import Confinement, Limits
from quarterdeck.confine.spec import Spec
from quarterdeck.confine.syscalls import numbers
from quarterdeck.core.errors import InvalidInput

ARGUMENTS_MAX = 10_000
TEXT_MAX_BYTES = 1024 * 1024
_CPU_GRACE_S = 2


def check(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
    """Raise InvalidInput unless this can be a command."""
    if not argv or not argv[0]:
        raise InvalidInput("There is no command.", where="argv", hint="Name a program.")
    size = sum(len(text) for text in (*argv, *env, *env.values()))
    if len(argv) > ARGUMENTS_MAX or size > TEXT_MAX_BYTES:
        raise InvalidInput(
            f"{len(argv)} arguments with {size} characters are too much.",
            where="argv",
            hint=f"At most {ARGUMENTS_MAX} arguments and {TEXT_MAX_BYTES} characters.",
        )
    for where, texts in (("argv", argv), ("env", [*env, *env.values()])):
        for text in texts:
            _check_text(text, where)
    for name in env:
        if not name or "=" in name:
            raise InvalidInput(f"{name!r} is not the name of a variable.", where="env")
    if not cwd.is_dir():
        raise InvalidInput(f"{str(cwd)!r} is not a directory.", where="cwd")


def _check_text(text: str, where: str) -> None:
    try:
        usable = "\0" not in text and os.fsencode(text) is not None
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise InvalidInput(f"{text!r} cannot be passed to a program.", where=where)


def environment(given: Mapping[str, str], home: Path, tmp: Path) -> dict[str, str]:
    """The whole environment of the command: nothing of the server's own but PATH and language."""
    return {
        "PATH": toolchain.search_path(),
        "HOME": str(home),
        "TMPDIR": str(tmp),
        "TMP": str(tmp),
        "TEMP": str(tmp),
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        **given,
    }


def spec(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    confinement: Confinement,
    writable: Iterable[Path],
    made: Path | None,
    report: LevelReport,
) -> Spec:
    """Everything the launcher needs; `writable` includes the command's HOME and TMPDIR,
    which lie in `made` when they were made for this run.

    Raises:
        InvalidInput: when a readable or writable path does not exist.
    """
    abi, limits = report.landlock_abi, confinement.limits
    places = [_existing(path, "confinement.writable") for path in writable]
    wanted = [(path, landlock.WRITE) for path in places]
    wanted += [(_existing(p, "confinement.readable"), landlock.READ) for p in confinement.readable]
    if confinement.toolchain:
        wanted += toolchain.toolchain()
    inet = confinement.network.inet
    return {
        "argv": list(argv),
        "cwd": str(cwd),
        "env": dict(env),
        "namespaces": confinement.namespaces,
        "shared_memory_bytes": limits.memory_bytes // 2,
        "landlock": _handled(abi) if abi else None,
        "rules": _rules(wanted, abi),
        "rules_own": _rules(toolchain.when_own(), abi, check=False),
        "rules_shared": _rules(toolchain.when_shared(), abi, check=False),
        "filter": seccomp.filter_program(
            report.machine, landlock_abi=abi, inet=inet, own_ipc=False
        ),
        "filter_own": seccomp.filter_program(
            report.machine, landlock_abi=abi, inet=inet, own_ipc=True
        ),
        "calls": numbers(report.machine),
        "rlimits": _rlimits(limits),
        "limits": _watched(limits),
        "writable": places,
        "ports": sorted(confinement.network.ports),
        "own_servers": confinement.network.own_servers,
        "made": str(made) if made else None,
    }


def _existing(path: Path, where: str) -> str:
    if not path.exists():
        raise InvalidInput(f"{str(path)!r} does not exist.", where=where)
    return str(path)


def _handled(abi: int) -> tuple[int, int, int]:
    return int(landlock.handled_fs(abi)), landlock.handled_net(abi), landlock.scoped(abi)


def _rules(
    wanted: Iterable[tuple[str, Access]], abi: int, *, check: bool = True
) -> list[tuple[str, int]]:
    """One rule per path; paths that only exist inside are taken to be directories."""
    return [
        (path, landlock.access(access, abi, is_dir=not check or os.path.isdir(path)))
        for path, access in wanted
    ]


def _watched(limits: Limits) -> dict[str, float]:
    return {
        "memory_bytes": limits.memory_bytes,
        "cpu_s": limits.cpu_s,
        "processes": limits.processes,
        "threads": limits.threads,
        "disk_bytes": limits.disk_bytes,
        "files": limits.files,
    }


def _rlimits(limits: Limits) -> list[tuple[str, int, int]]:
    """The kernel's own limits, per process; the watcher bounds the tree."""
    cpu = int(limits.cpu_s) + 1
    found = [
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_CPU", cpu, cpu + _CPU_GRACE_S),
        ("RLIMIT_FSIZE", limits.file_bytes, limits.file_bytes),
        ("RLIMIT_NOFILE", limits.open_files, limits.open_files),
    ]
    if limits.address_space_bytes is not None:
        size = limits.address_space_bytes
        found.append(("RLIMIT_AS", size, size))
    return found
