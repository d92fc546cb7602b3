"""The tree of processes below the launcher: who is in it, what it uses, and its end."""

from __future__ import annotations

import os
import select
import time

from quarterdeck.confine.launcher import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_ROUNDS_MAX = 2000
_DEPTH_MAX = 4096


class Usage:
    """What the living tree uses at one moment: memory in bytes, CPU in seconds."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.threads = 0
        self.memory_bytes = 0
        self.cpu_s = 0.0


def children(pid: int) -> list[int]:
    """The direct children of a process, [] when it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += [int(child) for child in _read(f"/proc/{pid}/task/{thread}/children").split()]
    except OSError:
        pass
    return found


def descendants(root: int) -> Iterator[int]:
    """Every process below `root`, parents first."""
    frontier = children(root)
    seen = set(frontier)
    while frontier:
        pid = frontier.pop(0)
        yield pid
        fresh = [child for child in children(pid) if child not in seen]
        seen.update(fresh)
        frontier += fresh


def usage(root: int, *, init: int | None = None) -> Usage:
    """What the processes below `root` use together; shared pages count once per process.

    `init` is not the command's own: it only holds the CPU time of those that it has reaped.
    """
    total = Usage()
    for pid in descendants(root):
        try:
            line = _read(f"/proc/{pid}/stat")
        except OSError:
            continue
        fields = line[line.rindex(b")") + 2 :].split()
        total.cpu_s += sum(map(int, fields[11:15])) / _TICKS
        if fields[0] in (b"Z", b"X") or pid == init:
            continue
        total.pids.append(pid)
        total.threads += int(fields[17])
        total.memory_bytes += int(fields[21]) * _PAGE
    return total


def proportional_memory(pids: list[int]) -> int:
    """The memory of the processes with each shared page counted once in total, in bytes."""
    total = 0
    for pid in pids:
        try:
            text = _read(f"/proc/{pid}/smaps_rollup")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith(b"Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def is_below(pid: int, root: int) -> bool:
    """Whether `pid` (a process or a thread) descends from `root` and is not `root` itself."""
    for _ in range(_DEPTH_MAX):
        try:
            status = _read(f"/proc/{pid}/status")
        except OSError:
            return False
        if _status_field(status, b"Tgid:") == root:
            return False
        pid = _status_field(status, b"PPid:")
        if pid == root:
            return True
        if pid <= 1:
            return False
    return False


def thread_group(pid: int) -> int:
    """The process a thread belongs to; raises OSError when it is gone."""
    return _status_field(_read(f"/proc/{pid}/status"), b"Tgid:")


def kill_all(root: int) -> None:
    """End every descendant of the calling process `root` and reap it.

    Each round stops what it finds before it kills, so that a fork bomb cannot outrun it. Orphans
    arrive at `root`, which must be a child subreaper; so the tree is empty when `root` has no
    child left.
    """
    for round_ in range(_ROUNDS_MAX):
        found = list(descendants(root))
        for signal in (kernel.SIGSTOP, kernel.SIGKILL) if len(found) > 8 else (kernel.SIGKILL,):
            for pid in found:
                _send(pid, root, signal)
        if not reap():
            return
        time.sleep(0.0005 if round_ < 20 else 0.005)


def reap() -> bool:
    """Reap what has ended; False when there is no child left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _send(pid: int, root: int, signal: int) -> None:
    """Signal `pid` only if it is still the process that was found below `root`."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        if not ended.poll(0) and is_below(pid, root):
            kernel.pidfd_send_signal(handle, signal)
    except OSError:
        pass
    finally:
        os.close(handle)


def _status_field(status: bytes, name: bytes) -> int:
    start = status.index(b"\n" + name) + len(name) + 1
    return int(status[start : status.index(b"\n", start)])


def _read(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, 65_536)
    finally:
        os.close(handle)
