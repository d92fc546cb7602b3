"""What the server tells the launcher: the policy worked out to plain values (marshal-able)."""

from __future__ import annotations

from typing import TypedDict


class Spec(TypedDict):
    """One command, ready to be applied without any further decision.

    `landlock` holds the handled rights on files, on TCP and the scopes, None where the kernel has
    no Landlock. `rules` are (path, access) pairs; `rules_own` are added when the command gets
    namespaces of its own, `rules_shared` when not; likewise `filter_own` and `filter`. `calls`
    names the asked system calls by number. `made` is the directory made for this run, which the
    launcher removes only when the server is no longer there to do it. `limits` are those the launcher watches over.
    """

    argv: list[str]
    cwd: str
    env: dict[str, str]
    namespaces: bool
    shared_memory_bytes: int
    landlock: tuple[int, int, int] | None
    rules: list[tuple[str, int]]
    rules_own: list[tuple[str, int]]
    rules_shared: list[tuple[str, int]]
    filter: bytes
    filter_own: bytes
    calls: dict[int, str]
    rlimits: list[tuple[str, int, int]]
    limits: dict[str, float]
    writable: list[str]
    ports: list[int]
    own_servers: bool
    made: str | None


class Ended(TypedDict):
    """What the launcher tells at the end; bytes, seconds, and a limit's name or None."""

    exit_code: int | None
    signal: int | None
    stopped_by: str | None
    cpu_s: float
    memory_peak_bytes: int
    processes_peak: int
