"""JSON lines over the process's first standard streams, and forks whose lines are passed on."""

from __future__ import annotations

import ctypes
import fcntl
import json
import math
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

FIN = b'{"event":"fin"}'
"""The last line of a forked child; what it started may keep the pipe open."""

_MEMORY_BYTES = 3 << 30
_FILE_BYTES = 64 << 20
_PR_SET_PDEATHSIG = 1


class Channel:
    """The protocol's two ends: requests are read from what was fd 0, replies go to what was fd 1.

    The descriptors move above 100 and close on exec, so that nothing the target prints or starts
    can mix with the protocol.
    """

    def __init__(self) -> None:
        self._input = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 100)
        self._output = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 100)
        self._buffer = b""
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)

    def receive(self) -> dict[str, Any] | None:
        """The next request; None when the other side is gone."""
        while b"\n" not in self._buffer:
            chunk = os.read(self._input, 1 << 16)
            if not chunk:
                return None
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        request = json.loads(line)
        return request if isinstance(request, dict) else None

    def send(self, message: dict[str, Any]) -> None:
        self.send_line(json.dumps(message, separators=(",", ":")).encode())

    def send_line(self, line: bytes) -> None:
        _write_all(self._output, line + b"\n")

    def silence(self) -> None:
        """From now on nobody reads the error stream; before, it explains a failed start."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)

    def close(self) -> None:
        os.close(self._input)
        os.close(self._output)


class Writer:
    """A forked child's way back: whole JSON lines into a pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, message: dict[str, Any]) -> None:
        _write_all(self._fd, json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def finish(self, code: int = 0) -> None:
        """Say that nothing more will come, and end this process at once."""
        _write_all(self._fd, FIN + b"\n")
        os._exit(code)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def limit_self(cpu_s: float) -> None:
    """Bound this process: memory, file size, CPU seconds, no core file; die with the parent.

    CPU time is bounded rather than wall time, so that a busy machine does not look like a hang.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    cpu = math.ceil(cpu_s) + 1
    wanted = ((resource.RLIMIT_AS, _MEMORY_BYTES), (resource.RLIMIT_FSIZE, _FILE_BYTES))
    for what, value in (*wanted, (resource.RLIMIT_CPU, cpu), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (soft, hard))


def fork_here(channel: Channel, cpu_s: float) -> Child | Writer:
    """Fork; the parent gets a Child, the child a Writer and goes on from here, bounded."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_fd)
        return Child(pid, read_fd)
    os.setpgid(0, 0)
    os.close(read_fd)
    channel.close()
    limit_self(cpu_s)
    return Writer(write_fd)


def fork(work: Callable[[Writer], None], channel: Channel, cpu_s: float) -> Child:
    """Run `work` in a forked child, in its own process group, bounded; the parent gets a Child.

    `work` may return normally: the child then finishes by itself.
    """
    parent = os.getpid()
    try:
        forked = fork_here(channel, cpu_s)
        if isinstance(forked, Child):
            return forked
        work(forked)
        forked.finish()
    except BaseException:
        if os.getpid() == parent:
            raise
        traceback.print_exc()
    os._exit(70)


class Child:
    """A forked child seen from its parent."""

    def __init__(self, pid: int, read_fd: int) -> None:
        self.pid = pid
        self._fd = read_fd

    def relay(
        self, forward: Callable[[bytes], None], timeout_s: float, stall_s: float
    ) -> dict[str, Any]:
        """Pass the child's lines on until it finishes, goes silent or runs out of time.

        The child's whole process group is gone on return. Returns the `end` message: whether the
        time ran out (`timed_out`), the signal that ended it, and the CPU time used in ms.
        """
        start = time.monotonic()
        timed_out = not self._forward_lines(forward, start + timeout_s, stall_s)
        status, cpu_ms = self._reap()
        ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        return {
            "event": "end",
            "timed_out": timed_out or ended_by in (signal.SIGPROF, signal.SIGXCPU),
            "signal": ended_by,
            "cpu_ms": round(cpu_ms, 2),
            "ms": round((time.monotonic() - start) * 1000, 2),
        }

    def _forward_lines(
        self, forward: Callable[[bytes], None], deadline: float, stall_s: float
    ) -> bool:
        buffer = b""
        while True:
            wait_s = min(deadline - time.monotonic(), stall_s)
            if wait_s <= 0 or not select.select([self._fd], [], [], wait_s)[0]:
                return False
            chunk = os.read(self._fd, 1 << 16)
            if not chunk:
                return True
            lines = (buffer + chunk).split(b"\n")
            buffer = lines.pop()
            for line in lines:
                if line == FIN:
                    return True
                forward(line)

    def _reap(self) -> tuple[int, float]:
        os.close(self._fd)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        return status, (usage.ru_utime + usage.ru_stime) * 1000


def fork_piped(work: Callable[[Writer], None], timeout_s: float) -> list[Any]:
    """Run `work` in a fork of a fork and return the value `o` of each line it sent in time."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setpgid(0, 0)
            limit_self(timeout_s)
            writer = Writer(write_fd)
            work(writer)
            writer.finish()
        except BaseException:  # noqa: BLE001 - a fork must never return to the caller
            traceback.print_exc()
        os._exit(70)
    os.close(write_fd)
    lines: list[Any] = []
    child = Child(pid, read_fd)
    child.relay(lambda line: lines.append(json.loads(line)["o"]), timeout_s, timeout_s)
    return lines
