"""What happens between the fork and the exec: the process confines itself, then becomes the command.

Nothing here returns: it ends in the command or in a report of why not.
"""

from __future__ import annotations

import _socket
import errno
import marshal
import os
import resource

from quarterdeck.confine.launcher import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Never

    from quarterdeck.confine.spec import Spec

_FAILED = 126
_DESCRIPTORS_MAX = 1 << 20
_SCM_RIGHTS = 1


def start_plain(spec: Spec, channel: _socket.socket) -> int:
    """Fork the command; returns its process id."""
    pid = os.fork()
    if pid == 0:
        _become(spec, channel, own=False)
    return pid


def start_in_namespaces(spec: Spec, channel: _socket.socket, status_fd: int) -> int:
    """Fork a small init in process, mount and IPC namespaces of its own; returns its process id.

    The init starts the command, reaps orphans and reports the command's status on `status_fd`.
    When it ends, however it ends, the kernel ends everything in there. Raises OSError.
    """
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        flags |= kernel.CLONE_NEWUSER
    pid = kernel.fork_into(flags)
    if pid == 0:
        _init(spec, channel, status_fd, None if uid == 0 else (uid, gid))
    return pid


def _init(spec: Spec, channel: _socket.socket, status_fd: int, ids: tuple[int, int] | None) -> None:
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
        if ids:
            _map_ids(*ids)
        _own_mounts(spec["shared_memory_bytes"])
        kernel.drop_capabilities()
        channel.sendall(b"N")
        command = os.fork()
        if command == 0:
            _become(spec, channel, own=True)
        channel.close()
        for fd in (0, 1, 2):
            os.close(fd)
        os.write(status_fd, b"%d" % _status_of(command))
    finally:
        os._exit(_FAILED)


def _map_ids(uid: int, gid: int) -> None:
    """Keep the caller's own ids in the new user namespace, and no others."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        _write(f"/proc/self/{name}", text)


def _own_mounts(shared_memory_bytes: int) -> None:
    guarded = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    size = f"size={shared_memory_bytes},mode=1777"
    kernel.mount("tmpfs", "/dev/shm", "tmpfs", guarded, size)  # noqa: S108 - where glibc has it
    terminals = "newinstance,ptmxmode=0666,mode=0600"
    kernel.mount("devpts", "/dev/pts", "devpts", kernel.MS_NOSUID | kernel.MS_NOEXEC, terminals)
    kernel.mount("proc", "/proc", "proc", guarded | kernel.MS_NOEXEC)


def _status_of(command: int) -> int:
    """Reap everything until the command itself ends; its wait status."""
    while True:
        pid, status = os.wait()
        if pid == command:
            return status


def _become(spec: Spec, channel: _socket.socket, *, own: bool) -> None:
    """Confine this process and turn it into the command."""
    stage = "start"
    try:
        os.closerange(3, channel.fileno())
        os.closerange(channel.fileno() + 1, _DESCRIPTORS_MAX)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
        os.setsid()
        os.umask(0o022)
        for number in (kernel.SIGPIPE, kernel.SIGXFSZ):
            kernel.default_action(number)  # Python ignores these; programs do not expect it
        _write("/proc/self/oom_score_adj", "500")
        stage = "cwd"
        os.chdir(spec["cwd"])
        stage = "limits"
        for name, soft, hard in spec["rlimits"]:
            _limit(getattr(resource, name), soft, hard)
        stage = "confine"
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        if spec["landlock"]:
            _landlock(spec, spec["landlock"], own=own)
        listener = kernel.seccomp_listen(spec["filter_own" if own else "filter"])
        _hand_over(channel, listener)
        stage = "exec"
        _exec(spec["argv"], spec["env"])
    except BaseException as error:  # noqa: BLE001 - reported to the launcher, then the process ends
        number = getattr(error, "errno", None) or 0
        name = getattr(error, "filename", None)
        report = (stage, number, f"{error}", os.fsdecode(name) if name else None)
        channel.sendall(b"E" + marshal.dumps(report))
    finally:
        os._exit(_FAILED)


def _limit(which: int, soft: int, hard: int) -> None:
    """Lower a resource limit; never above what the server itself has."""
    ceiling = resource.getrlimit(which)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))


def _landlock(spec: Spec, handled: tuple[int, int, int], *, own: bool) -> None:
    ruleset = kernel.landlock_ruleset(*handled)
    for path, access in spec["rules"] + spec["rules_own" if own else "rules_shared"]:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        kernel.landlock_allow(ruleset, fd, access)
        os.close(fd)
    kernel.landlock_restrict(ruleset)
    os.close(ruleset)


def _hand_over(channel: _socket.socket, listener: int) -> None:
    """Give the launcher the descriptor on which the asked calls arrive, and keep none."""
    rights = listener.to_bytes(4, "little")
    channel.sendmsg([b"L"], [(_socket.SOL_SOCKET, _SCM_RIGHTS, rights)])
    os.close(listener)


def _exec(argv: list[str], env: dict[str, str]) -> Never:
    program = argv[0]
    places = [""] if "/" in program else env.get("PATH", "/usr/bin:/bin").split(":")
    refused = None
    for place in places:
        path = f"{place}/{program}" if place else program
        try:
            os.execve(path, argv, env)  # noqa: S606 - confined by now; there is no shell on purpose
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refused = error
    raise refused or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
