"""The broker: answers the system calls that the filter cannot judge by their numbers alone.

It runs as a thread of the launcher. For files and sockets it acts itself on what it has opened
and checked, so that nothing can be exchanged between the check and the act; it lets a call go on
(`_CONTINUE`) only where the arguments are plain numbers, or where Landlock refuses what matters.
"""

from __future__ import annotations

import _socket
import _thread
import errno
import fcntl
import os
import struct
import time

from quarterdeck.confine.launcher import kernel, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from quarterdeck.confine.launcher.watch import Watch
    from quarterdeck.confine.spec import Spec

_RECEIVE, _SEND, _STILL_THERE = 0xC0502100, 0xC0182101, 0x40082102
_CONTINUE = "continue"
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = 0x100, 0x1000
_UTIME_NOW, _UTIME_OMIT = 0x3FFFFFFF, 0x3FFFFFFE
_PRIO_PROCESS, _IOPRIO_WHO_PROCESS = 0, 1
_CONNECTING_MAX = 64
_AF_UNSPEC = 0
_PORT_UNPRIVILEGED = 1024
_LOOPBACK_NAMES = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
_LOOPBACK_V4 = b"\x7f\0\0\1"
_MAPPED_V4 = b"\0" * 10 + b"\xff\xff"


class Call:
    """One asked call: who asks (a thread id, seen from here) and with which six arguments."""

    def __init__(self, raw: bytes) -> None:
        self.id, self.thread, _, self.number = struct.unpack_from("=QIIi", raw)
        self.args: tuple[int, ...] = struct.unpack_from("=6Q", raw, 32)

    def signed(self, index: int) -> int:
        """The argument as a C int."""
        value = self.args[index] & 0xFFFFFFFF
        return value - (1 << 32) if value >= 1 << 31 else value

    def memory(self, address: int, size: int) -> bytes:
        """Up to `size` bytes of the caller's memory."""
        fd = os.open(f"/proc/{self.thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, size, address)
        finally:
            os.close(fd)

    def text(self, address: int) -> bytes:
        """The zero-terminated string at `address`, read up to the end of its page and on."""
        found = b""
        while len(found) < 4096:
            page = 4096 - (address + len(found)) % 4096
            piece = self.memory(address + len(found), page)
            end = piece.find(b"\0")
            if end >= 0:
                return found + piece[:end]
            if not piece:
                break
            found += piece
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    def descriptor(self, number: int) -> int:
        """A copy of the caller's descriptor, to be closed by us."""
        pidfd = os.pidfd_open(tree.thread_group(self.thread))
        try:
            return kernel.pidfd_getfd(pidfd, number)
        finally:
            os.close(pidfd)


class Broker:
    """Serves the asked calls of one command."""

    def __init__(self, listener: int, spec: Spec, watch: Watch) -> None:
        self._listener = listener
        self._calls = spec["calls"]
        self._writable = [os.path.realpath(path) for path in spec["writable"]]
        self._ports = set(spec["ports"])
        self._own_servers = spec["own_servers"]
        self._watch = watch
        self._connecting = 0
        process = self._on_process
        self._handlers: dict[str, Callable[[Call], int | str]] = {
            "connect": self._connect,
            "bind": self._bind,
            "listen": self._listen,
            "chmod": lambda call: self._chmod(call, _AT_FDCWD, call.args[0], call.args[1]),
            "fchmodat": lambda call: self._chmod(call, call.signed(0), call.args[1], call.args[2]),
            "fchmod": self._fchmod,
            "utimensat": self._utimensat,
            "fork": self._fork,
            "vfork": self._fork,
            "clone": self._fork,
            "kill": self._kill,
            "tkill": process,
            "tgkill": process,
            "rt_sigqueueinfo": process,
            "rt_tgsigqueueinfo": process,
            "prlimit64": process,
            "sched_setaffinity": process,
            "sched_setattr": process,
            "sched_setparam": process,
            "sched_setscheduler": process,
            "setpriority": lambda call: self._priority(call, _PRIO_PROCESS),
            "ioprio_set": lambda call: self._priority(call, _IOPRIO_WHO_PROCESS),
        }

    def start(self) -> None:
        """Serve in a thread of its own until the process ends."""
        _thread.start_new_thread(self._serve, ())

    def _serve(self) -> None:
        while True:
            raw = bytearray(80)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, raw)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue  # the caller was killed meanwhile
                return
            call = Call(bytes(raw))
            # a connection can wait for its peer, and must not make the others wait
            if self._calls.get(call.number) == "connect" and self._connecting < _CONNECTING_MAX:
                self._connecting += 1
                _thread.start_new_thread(self._answer_connect, (call,))
            else:
                self._answer(call)

    def _answer_connect(self, call: Call) -> None:
        try:
            self._answer(call)
        finally:
            self._connecting -= 1

    def _answer(self, call: Call) -> None:
        value: int | str = 0
        error = 0
        try:
            value = self._handlers[self._calls[call.number]](call)
        except OSError as problem:
            error = -(problem.errno or errno.EACCES)
        except Exception:  # noqa: BLE001 - an unanswered call would hang, and a dead broker every one
            error = -errno.EINVAL
        flags = 1 if value == _CONTINUE and not error else 0
        result = value if isinstance(value, int) and not error else 0
        try:
            fcntl.ioctl(
                self._listener,
                _SEND,
                bytearray(struct.pack("=QqiI", call.id, result, error, flags)),
            )
        except OSError:
            return  # the caller is gone

    def _check_alive(self, call: Call) -> None:
        """Raise unless the caller still waits, so that its id cannot be somebody else's by now."""
        fcntl.ioctl(self._listener, _STILL_THERE, bytearray(struct.pack("=Q", call.id)))

    # ------------------------------------------------------------------ processes

    def _fork(self, call: Call) -> int | str:
        if self._watch.may_fork(call.thread):
            return _CONTINUE
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _on_process(self, call: Call) -> int | str:
        return self._if_own(call.signed(0))

    def _kill(self, call: Call) -> int | str:
        """`kill` with 0 means the own group; a group outside and "everybody" are refused."""
        pid = call.signed(0)
        return _CONTINUE if pid == 0 else self._if_own(abs(pid) if pid != -1 else -1)

    def _priority(self, call: Call, process: int) -> int | str:
        if call.signed(0) != process:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return self._if_own(call.signed(1))

    def _if_own(self, pid: int) -> str:
        # in a process namespace of its own the command can name nobody else
        if self._watch.namespaces or (pid > 0 and tree.is_below(pid, self._watch.root)):
            return _CONTINUE
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    # ---------------------------------------------------------------------- files

    def _chmod(self, call: Call, base: int, path: int, mode: int) -> int:
        fd = self._open_path(call, base, call.text(path), follow=True)
        try:
            self._require_writable(fd)
            os.chmod(f"/proc/self/fd/{fd}", mode & 0o1777)
        finally:
            os.close(fd)
        return 0

    def _fchmod(self, call: Call) -> int:
        fd = call.descriptor(call.signed(0))
        try:
            self._require_writable(fd)
            os.fchmod(fd, call.args[1] & 0o1777)
        finally:
            os.close(fd)
        return 0

    def _utimensat(self, call: Call) -> int:
        path = call.text(call.args[1]) if call.args[1] else b""
        flags = call.args[3]
        if path or flags & _AT_EMPTY_PATH:
            follow = not flags & _AT_SYMLINK_NOFOLLOW
            fd = self._open_path(call, call.signed(0), path, follow=follow)
        else:
            fd = call.descriptor(call.signed(0))
        try:
            self._require_writable(fd)
            _set_times(fd, call.memory(call.args[2], 32) if call.args[2] else None)
        finally:
            os.close(fd)
        return 0

    def _open_path(self, call: Call, base: int, path: bytes, *, follow: bool) -> int:
        """What the caller's path names, opened for reference only."""
        flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        for itself in (b"/proc/self/", b"/proc/thread-self/"):
            if path.startswith(itself):
                own = b"/proc/%d/" % call.thread
                return self._opened(call, os.open(own + path[len(itself) :], flags))
        if path.startswith(b"/"):
            start = os.open(f"/proc/{call.thread}/root", os.O_PATH | os.O_CLOEXEC)
            path = path.lstrip(b"/") or b"."
        elif base == _AT_FDCWD:
            start = os.open(f"/proc/{call.thread}/cwd", os.O_PATH | os.O_CLOEXEC)
        else:
            start = call.descriptor(base)
        if not path:
            return self._opened(call, start)
        try:
            return self._opened(call, os.open(path, flags, dir_fd=start))
        finally:
            os.close(start)

    def _opened(self, call: Call, fd: int) -> int:
        try:
            self._check_alive(call)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _require_writable(self, fd: int) -> None:
        """Raise unless what is open lies in a writable place of the command."""
        real = os.readlink(f"/proc/self/fd/{fd}")
        if not any(real == place or real.startswith(place + "/") for place in self._writable):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    # -------------------------------------------------------------------- sockets

    def _connect(self, call: Call) -> int:
        address = call.memory(call.args[1], min(call.args[2] & 0xFFFFFFFF, 128))
        with _Borrowed(call) as socket:
            family = int.from_bytes(address[:2], "little")
            if family == _socket.AF_UNIX and socket.family == _socket.AF_UNIX:
                self._connect_unix(call, socket, address[2:])
            elif family == _AF_UNSPEC:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            else:
                target = _loopback(address, family, socket.family)
                if target[1] not in self._ports:
                    raise OSError(errno.EACCES, os.strerror(errno.EACCES))
                socket.connect(target)
        return 0

    def _connect_unix(self, call: Call, socket: _socket.socket, name: bytes) -> None:
        """Only to sockets in a writable place; an abstract name could be anybody's."""
        if name[:1] in (b"", b"\0"):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        fd = self._open_path(call, _AT_FDCWD, name.split(b"\0", 1)[0], follow=True)
        try:
            self._require_writable(fd)
            socket.connect(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    def _bind(self, call: Call) -> int | str:
        address = call.memory(call.args[1], min(call.args[2] & 0xFFFFFFFF, 128))
        with _Borrowed(call) as socket:
            if socket.family == _socket.AF_UNIX:
                return _CONTINUE  # Landlock guards the path, and refuses TCP if it is swapped in
            family = int.from_bytes(address[:2], "little")
            target = _loopback(_narrowed(address, family), family, socket.family)
            if not self._own_servers or 0 < target[1] < _PORT_UNPRIVILEGED:
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            socket.bind(target)
        return 0

    def _listen(self, call: Call) -> int:
        """Listen, on loopback only: an unbound socket would listen on every interface."""
        with _Borrowed(call) as socket:
            if socket.family != _socket.AF_UNIX:
                host, port = socket.getsockname()[:2]
                if host not in _LOOPBACK_NAMES or not port:
                    raise OSError(errno.EACCES, os.strerror(errno.EACCES))
                self._ports.add(port)
            socket.listen(max(0, call.signed(1)))
        return 0


class _Borrowed:
    """The caller's socket for the time of one call; it keeps the caller's own blocking mode."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> _socket.socket:
        fd = self._call.descriptor(self._call.signed(0))
        try:
            self._socket = _socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            raise
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _narrowed(address: bytes, family: int) -> bytes:
    """The address to bind to, with "every interface" turned into loopback.

    "::" becomes the mapped IPv4 loopback: most servers that bind to it are then asked for at
    127.0.0.1.
    """
    if family == _socket.AF_INET and address[4:8] == b"\0" * 4:
        return address[:4] + _LOOPBACK_V4 + address[8:]
    if family == _socket.AF_INET6 and address[8:24] == b"\0" * 16:
        return address[:8] + _MAPPED_V4 + _LOOPBACK_V4 + address[24:]
    return address


def _loopback(address: bytes, family: int, expected: int) -> tuple[str, int]:
    """Host and port of a `sockaddr`; raises unless it is loopback and of the socket's family."""
    port = int.from_bytes(address[2:4], "big")
    if family == expected == _socket.AF_INET and address[4:5] == _LOOPBACK_V4[:1]:
        return _socket.inet_ntop(_socket.AF_INET, address[4:8]), port
    if family == expected == _socket.AF_INET6:
        host = address[8:24]
        if host in (b"\0" * 15 + b"\1", _MAPPED_V4 + _LOOPBACK_V4):
            return _socket.inet_ntop(_socket.AF_INET6, host), port
    raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _set_times(fd: int, raw: bytes | None) -> None:
    """Set access and modification time (two `struct timespec`), or both to now."""
    name = f"/proc/self/fd/{fd}"
    if raw is None:
        os.utime(name)
        return
    pairs = struct.unpack("=4q", raw)
    given = [_nanoseconds(pairs[0], pairs[1]), _nanoseconds(pairs[2], pairs[3])]
    if None in given:
        now = os.stat(name)
        kept = (now.st_atime_ns, now.st_mtime_ns)
        given = [kept[i] if value is None else value for i, value in enumerate(given)]
    os.utime(name, ns=(given[0] or 0, given[1] or 0))


def _nanoseconds(seconds: int, nanoseconds: int) -> int | None:
    """One `timespec` of utimensat(2); None means: leave as it is."""
    if nanoseconds == _UTIME_OMIT:
        return None
    if nanoseconds == _UTIME_NOW:
        return _now_ns()
    return seconds * 1_000_000_000 + nanoseconds


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_REALTIME)
