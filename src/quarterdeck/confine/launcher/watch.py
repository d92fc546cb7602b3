"""The watcher: compares what the whole tree uses with the limits, a few times a second."""

from __future__ import annotations

import _thread
import os
import resource
import time

from quarterdeck.confine.launcher import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from quarterdeck.confine.spec import Spec

_INTERVAL_S = 0.2
_INTERVAL_NEAR_S = 0.03
_NEAR = 0.25
_SCAN_INTERVAL_S = 2.0
_SCAN_COST_SHARE = 20
_DEPTH_MAX = 200
_APPEARS_S = 0.1


class Watch:
    """The limits of one command; `exceeded` names the first one that was passed.

    `root` is the launcher's process id; `init` is the process that is not the command's own, if
    there is one.
    """

    def __init__(self, spec: Spec) -> None:
        self.root = os.getpid()
        self.init: int | None = None
        self.namespaces = False
        self.exceeded: str | None = None
        self.memory_peak_bytes = 0
        self.processes_peak = 0
        self.cpu_s = 0.0
        self._limits = spec["limits"]
        self._disk = _Disk(spec["writable"], self._limits)
        self._living = self._let_through = 0
        self._recent: dict[int, float] = {}
        self._lock = _thread.allocate_lock()

    def may_fork(self, thread: int) -> bool:
        """Whether `thread` may start one more process; counts precisely only near the limit.

        A process that was let through a moment ago may not be visible yet, so close to the limit
        this waits until it must be. A thread that asks again has got its earlier one.
        """
        with self._lock:
            limit = self._limits["processes"]
            self._recent.pop(thread, None)
            self._let_through += 1
            if self._living + self._let_through < limit:
                return self._let(thread)
            self._count(tree.usage(self.root, init=self.init))
            if self._living + len(self._recent) >= limit:
                time.sleep(_APPEARS_S)
                self._count(tree.usage(self.root, init=self.init))
            if self._living >= limit:
                self.exceeded = self.exceeded or "processes"
                return False
            return self._let(thread)

    def _let(self, thread: int) -> bool:
        self._recent[thread] = time.monotonic()
        return True

    def look(self) -> float:
        """Compare once; the seconds until the next look."""
        used = tree.usage(self.root, init=self.init)
        with self._lock:
            self._count(used)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_s = used.cpu_s + ended.ru_utime + ended.ru_stime
        self.memory_peak_bytes = max(self.memory_peak_bytes, used.memory_bytes)
        found = self._over(used) or self._disk.over()
        self.exceeded = self.exceeded or found
        near = max(
            used.memory_bytes / self._limits["memory_bytes"],
            len(used.pids) / self._limits["processes"],
        )
        return _INTERVAL_NEAR_S if near > _NEAR else _INTERVAL_S

    def _count(self, used: tree.Usage) -> None:
        self._living, self._let_through = len(used.pids), 0
        seen = time.monotonic() - _APPEARS_S
        self._recent = {thread: at for thread, at in self._recent.items() if at > seen}
        self.processes_peak = max(self.processes_peak, self._living)

    def _over(self, used: tree.Usage) -> str | None:
        limits = self._limits
        if used.memory_bytes > limits["memory_bytes"]:
            # forked processes share pages, which the quick sum counts several times
            shared_once = tree.proportional_memory(used.pids)
            if shared_once > limits["memory_bytes"]:
                return "memory_bytes"
        if used.threads > limits["threads"]:
            return "threads"
        if self.cpu_s > limits["cpu_s"]:
            return "cpu_s"
        return None


class _Disk:
    """Growth of the writable places: a cheap look at free space, and a scan now and then."""

    def __init__(self, places: list[str], limits: dict[str, float]) -> None:
        self._places = places
        self._limits = limits
        self._found: str | None = None
        self._scanning = False
        self._start: tuple[int, int] | None = None
        self._next_s = 0.0
        self._free = self._free_bytes()

    def over(self) -> str | None:
        """The limit that the last scan found passed; begins another scan when it is time."""
        dropped = self._free - self._free_bytes() > self._limits["disk_bytes"] / 2
        due = time.monotonic() >= self._next_s or (dropped and self._start is not None)
        if due and not self._scanning and self._places:
            self._scanning = True
            _thread.start_new_thread(self._scan, ())
        return self._found

    def _free_bytes(self) -> int:
        """Free space on the file systems of the writable places, in bytes."""
        seen = {}
        for place in self._places:
            try:
                facts = os.statvfs(place)
            except OSError:
                continue
            seen[facts.f_fsid] = facts.f_bavail * facts.f_frsize
        return sum(seen.values())

    def _scan(self) -> None:
        try:
            began = time.monotonic()
            now = _size(self._places)
            if self._start is None:
                self._start = now
            if now[0] - self._start[0] > self._limits["disk_bytes"]:
                self._found = "disk_bytes"
            elif now[1] - self._start[1] > self._limits["files"]:
                self._found = "files"
            cost = time.monotonic() - began
            self._free = self._free_bytes()
            self._next_s = time.monotonic() + max(_SCAN_INTERVAL_S, cost * _SCAN_COST_SHARE)
        finally:
            self._scanning = False


def _size(places: list[str]) -> tuple[int, int]:
    """Bytes on disk and the number of entries in all places together."""
    size = count = 0
    frontier = [(place, 0) for place in places]
    while frontier:
        folder, depth = frontier.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    count += 1
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if depth < _DEPTH_MAX and entry.is_dir(follow_symlinks=False):
                        frontier.append((entry.path, depth + 1))
        except OSError:
            continue
    return size, count
