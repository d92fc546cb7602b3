"""The launcher's main loop: start the command, watch it and the server, end the whole tree."""

from __future__ import annotations

import _socket
import marshal
import os
import resource
import select
import time

from quarterdeck.confine.launcher import child, kernel, tree
from quarterdeck.confine.launcher.broker import Broker
from quarterdeck.confine.launcher.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from quarterdeck.confine.spec import Ended, Spec

_FIRST_LOOK_S = 0.03


class _NotStarted(Exception):
    """The command could not be started; holds what the child said."""


def main(control_fd: int) -> None:
    """Run one command as told on the control socket, then leave without a word to anybody else."""
    os.set_inheritable(control_fd, False)
    control = _socket.socket(fileno=control_fd)
    spec: Spec = marshal.loads(_receive(control))  # noqa: S302 - from the server that started us
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    # a stop from a terminal is the server's to handle: it tells us, or its end does
    kernel.ignore(kernel.SIGINT)
    try:
        command = _start(spec)
    except _NotStarted as refusal:
        tree.kill_all(os.getpid())
        _send(control, {"failed": refusal.args})
        os._exit(0)
    _release_streams()
    _send(control, {"started": command.pid, "namespaces": command.watch.namespaces})
    stopped_by = _supervise(control, command)
    if stopped_by:
        command.watch.look()  # what is killed in a namespace leaves no account
    status = _end(command)
    told = _send(control, {"ended": _ended(command, status, stopped_by)})
    if not told and spec["made"]:
        _remove(spec["made"])  # the server would have done it
    os._exit(0)


class _Command:
    """A running command: the process to wait for, and where its status comes from.

    `own_proc` only stays open: it keeps alive the directory that the command's own rule names.
    """

    def __init__(
        self, pid: int, watch: Watch, status_fd: int | None, own_proc: int | None = None
    ) -> None:
        self.own_proc = own_proc
        self.pid = pid
        self.watch = watch
        self.status_fd = status_fd
        self.pidfd = os.pidfd_open(pid)


def _start(spec: Spec) -> _Command:
    watch = Watch(spec)
    if spec["namespaces"]:
        command = _start_own(spec, watch)
        if command:
            kernel.drop_capabilities()
            return command
    kernel.drop_capabilities()
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    pid = child.start_plain(spec, theirs)
    own_proc = os.open(f"/proc/{pid}", os.O_PATH)
    theirs.close()
    command = _Command(pid, watch, None, own_proc)
    _take_over(ours, spec, watch)
    return command


def _start_own(spec: Spec, watch: Watch) -> _Command | None:
    """The command in namespaces of its own; None where they are not to be had."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    status, status_theirs = os.pipe()
    try:
        pid = child.start_in_namespaces(spec, theirs, status_theirs)
    except OSError:
        return None
    finally:
        theirs.close()
        os.close(status_theirs)
    if ours.recv(1) != b"N":
        os.waitpid(pid, 0)
        os.close(status)
        return None
    watch.namespaces, watch.init = True, pid
    command = _Command(pid, watch, status)
    _take_over(ours, spec, watch)
    return command


def _take_over(channel: _socket.socket, spec: Spec, watch: Watch) -> None:
    """Receive the listener, serve it, and wait until the command has really begun.

    Raises:
        _NotStarted: with stage, error number, text and file name, as the child reported it.
    """
    found, ancillary, _, _ = channel.recvmsg(1, 64)
    if found == b"L":
        Broker(int.from_bytes(ancillary[0][2][:4], "little"), spec, watch).start()
        found = channel.recv(1)
    if found == b"E":
        report = b""
        while piece := channel.recv(4096):
            report += piece
        raise _NotStarted(*marshal.loads(report))  # noqa: S302 - our own code before the exec
    channel.close()


def _release_streams() -> None:
    """Let go of the command's streams, so that their readers see the end of it, not ours."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


def _supervise(control: _socket.socket, command: _Command) -> str | None:
    """Wait for the command's end, a limit, or the server; the name of what stopped it, if so."""
    poll = select.poll()
    poll.register(command.pidfd, select.POLLIN)
    poll.register(control.fileno(), select.POLLIN)
    pause_s, next_look = _FIRST_LOOK_S, time.monotonic() + _FIRST_LOOK_S
    while True:
        ready = [fd for fd, _ in poll.poll(max(0.0, next_look - time.monotonic()) * 1000)]
        if control.fileno() in ready:
            return "killed"
        if command.pidfd in ready:
            return command.watch.exceeded
        if time.monotonic() >= next_look:
            pause_s = command.watch.look()
            next_look = time.monotonic() + pause_s
            if command.status_fd is None:
                _reap_others(command.pid)
        if command.watch.exceeded:
            return command.watch.exceeded


def _reap_others(pid: int) -> None:
    """Reap orphans that have ended, and leave the command's own status where it is."""
    for orphan in tree.children(os.getpid()):
        if orphan != pid:
            os.waitpid(orphan, os.WNOHANG)


def _end(command: _Command) -> int:
    """End the whole tree; the command's wait status."""
    status = kernel.SIGKILL
    if command.status_fd is not None:
        os.kill(command.pid, kernel.SIGKILL)
        text = os.read(command.status_fd, 16)
        status = int(text) if text else status
    else:
        handle = select.poll()
        handle.register(command.pidfd, select.POLLIN)
        if not handle.poll(0):
            kernel.pidfd_send_signal(command.pidfd, kernel.SIGKILL)
        status = os.waitpid(command.pid, 0)[1]
    tree.kill_all(os.getpid())
    return status


def _ended(command: _Command, status: int, stopped_by: str | None) -> Ended:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    return {
        "exit_code": os.WEXITSTATUS(status) if signal is None else None,
        "signal": signal,
        "stopped_by": stopped_by or _by_kernel(signal, os.WEXITSTATUS(status)),
        "cpu_s": max(command.watch.cpu_s, used.ru_utime + used.ru_stime),
        "memory_peak_bytes": max(command.watch.memory_peak_bytes, used.ru_maxrss * 1024),
        "processes_peak": max(1, command.watch.processes_peak),
    }


def _by_kernel(signal: int | None, exit_code: int) -> str | None:
    """The limit that the kernel itself enforced, told by the signal (a shell adds 128)."""
    number = signal if signal is not None else exit_code - 128
    return {kernel.SIGXFSZ: "file_bytes", kernel.SIGXCPU: "cpu_s"}.get(number)


def _receive(control: _socket.socket) -> bytes:
    size = int.from_bytes(_exactly(control, 4), "little")
    return _exactly(control, size)


def _exactly(control: _socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = control.recv(size - len(found))
        if not piece:
            os._exit(0)
        found += piece
    return found


def _send(control: _socket.socket, message: dict[str, object]) -> bool:
    """Tell the server; False when it is gone."""
    content = marshal.dumps(message)
    try:
        control.sendall(len(content).to_bytes(4, "little") + content)
    except OSError:
        return False
    return True


def _remove(root: str) -> None:
    """Remove a directory and what is below; what cannot be removed stays."""
    for _, folders, files, here in os.fwalk(root, topdown=False):
        for name in folders + files:
            remove = os.rmdir if name in folders else os.unlink
            try:
                remove(name, dir_fd=here)
            except NotADirectoryError:
                os.unlink(name, dir_fd=here)  # a link to a directory
            except OSError:
                continue
    try:
        os.rmdir(root)
    except OSError:
        return
