"""The system calls that Python does not offer, by ctypes; nothing here decides anything."""

import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# the same on every machine that is supported; importing `signal` would double the start-up time
SIGINT, SIGKILL, SIGPIPE, SIGSTOP, SIGXCPU, SIGXFSZ = 2, 9, 13, 19, 24, 25
_SIG_DFL, _SIG_IGN, _SIG_ERR = 0, 1, ctypes.c_void_p(-1).value

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1

_SECCOMP_SET_MODE_FILTER, _SECCOMP_GET_ACTION_AVAIL = 1, 2
_SECCOMP_FILTER_FLAG_NEW_LISTENER, _SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 8, 32
_EINVAL = 22

# seccomp, capset
_NUMBERS = {"x86_64": (317, 126), "aarch64": (277, 91)}

CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000

_LAST_CAPABILITY = 63
_SECBIT_NOROOT_LOCKED = 0b11


def _syscall(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, *arguments: int) -> None:
    """`prctl(2)`; raises OSError."""
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc.prctl(ctypes.c_int(option), *padded) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def unshare(flags: int) -> None:
    """`unshare(2)`; raises OSError."""
    if _libc.unshare(ctypes.c_int(flags)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """`mount(2)`; raises OSError."""
    texts = [text.encode() or None for text in (source, target, kind)]
    if _libc.mount(*texts, ctypes.c_ulong(flags), options.encode() or None) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def landlock_abi() -> int:
    """The ABI of the running kernel, 0 where Landlock is missing or switched off."""
    try:
        return _syscall(
            _LANDLOCK_CREATE_RULESET,
            None,
            ctypes.c_size_t(0),
            ctypes.c_uint(_LANDLOCK_CREATE_RULESET_VERSION),
        )
    except OSError:
        return 0


def landlock_ruleset(handled_fs: int, handled_net: int, scoped: int) -> int:
    """The descriptor of a new, empty ruleset; zero fields at the end are left out."""
    fields = [handled_fs, handled_net, scoped]
    while len(fields) > 1 and not fields[-1]:
        fields.pop()
    attribute = struct.pack(f"={len(fields)}Q", *fields)
    return _syscall(
        _LANDLOCK_CREATE_RULESET, attribute, ctypes.c_size_t(len(attribute)), ctypes.c_uint(0)
    )


def landlock_allow(ruleset: int, path_fd: int, access: int) -> None:
    """Grant `access` beneath the file or directory open as `path_fd`."""
    attribute = struct.pack("=Qi", access, path_fd)
    _syscall(
        _LANDLOCK_ADD_RULE,
        ctypes.c_int(ruleset),
        ctypes.c_int(_LANDLOCK_RULE_PATH_BENEATH),
        attribute,
        ctypes.c_uint(0),
    )


def landlock_restrict(ruleset: int) -> None:
    """Confine the calling thread, for good."""
    _syscall(_LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def seccomp_available() -> bool:
    """Whether the kernel can hand calls over to a broker (5.0; always where Landlock is)."""
    action = struct.pack("=I", 0x7FC00000)
    machine = os.uname().machine
    if machine not in _NUMBERS:
        return False
    try:
        _syscall(
            _NUMBERS[machine][0], ctypes.c_uint(_SECCOMP_GET_ACTION_AVAIL), ctypes.c_uint(0), action
        )
    except OSError:
        return False
    return True


def seccomp_listen(program: bytes) -> int:
    """Install the filter and return the descriptor on which the asked calls arrive."""
    flags = _SECCOMP_FILTER_FLAG_NEW_LISTENER | _SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    try:
        return _seccomp(program, flags)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        return _seccomp(program, _SECCOMP_FILTER_FLAG_NEW_LISTENER)


def _seccomp(program: bytes, flags: int) -> int:
    filter_program = _Program(len(program) // 8, program)
    return _syscall(
        _NUMBERS[os.uname().machine][0],
        ctypes.c_uint(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_uint(flags),
        ctypes.byref(filter_program),
    )


def drop_capabilities() -> None:
    """Give up every capability, and the ways back to them that root's execve would have."""
    try:
        for capability in range(_LAST_CAPABILITY + 1):
            prctl(PR_CAPBSET_DROP, capability)
    except OSError:
        # EINVAL: past the last one this kernel has; EPERM: not root, so there is nothing to drop
        pass
    try:
        prctl(PR_SET_SECUREBITS, _SECBIT_NOROOT_LOCKED)
    except PermissionError:
        pass
    prctl(PR_CAP_AMBIENT, 4)
    header = struct.pack("=Ii", 0x20080522, 0)
    _syscall(_NUMBERS[os.uname().machine][1], header, struct.pack("=6I", 0, 0, 0, 0, 0, 0))


def pidfd_getfd(pidfd: int, number: int) -> int:
    """A copy of another process's descriptor; raises OSError."""
    return _syscall(438, ctypes.c_int(pidfd), ctypes.c_int(number), ctypes.c_uint(0))


def fork_into(namespaces: int) -> int:
    """`fork` whose child begins in new namespaces; returns 0 in the child, its id in the parent.

    Only for a process with a single thread. Raises OSError where namespaces are not to be had.
    """
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    sigchld = 17
    flags = ctypes.c_ulong(namespaces | sigchld)
    return _syscall(number, flags, *(ctypes.c_ulong(0) for _ in range(4)))


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """Signal the very process that `pidfd` was opened for; raises OSError."""
    _syscall(424, ctypes.c_int(pidfd), ctypes.c_int(number), None, ctypes.c_uint(0))


def default_action(number: int) -> None:
    """Give the signal its default action back."""
    _set_action(number, _SIG_DFL)


def ignore(number: int) -> None:
    """Ignore the signal."""
    _set_action(number, _SIG_IGN)


def _set_action(number: int, action: int) -> None:
    _libc.signal.restype = ctypes.c_void_p
    if _libc.signal(ctypes.c_int(number), ctypes.c_void_p(action)) == _SIG_ERR:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
