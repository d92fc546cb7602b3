"""The filter on system calls, as data, and its translation to classic BPF.

Landlock guards files and TCP; this filter closes what Landlock does not see. Three answers exist:
allow, refuse with an error number, and *ask*: the call is handed to the broker of the launcher,
which checks what a filter cannot see (a path, an address, a process) and acts itself.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from quarterdeck.confine.syscalls import AUDIT_ARCH, HIGHEST_KNOWN, X32_BIT, number

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
ASK = 0x7FC00000
_ERRNO = 0x00050000

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_JUMP_GREATER_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGS = 0, 4, 16
_ALL_BITS = 0xFFFFFFFF

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
_SOCK_STREAM, _SOCK_SEQPACKET, _SOCK_TYPE_MASK = 1, 5, 0xF
_IPPROTO_TCP = 6
_MSG_FASTOPEN = 0x20000000
_CLONE_THREAD = 0x00010000
# NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_CLONE_NAMESPACES = (
    0x00020000,
    0x02000000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_SET_ID_BITS = (0o4000, 0o2000)
# TIOCSTI and TIOCLINUX type into a terminal, TIOCSETD loads line disciplines, the FS_IOC_* change
# attributes of files that are only open for reading
_IOCTL_DENIED = (0x5412, 0x541C, 0x5423, 0x40086602, 0x401C5820)
_F_SETOWN, _F_SETOWN_EX = 8, 15
_O_ACCMODE, _O_TRUNC = 0o3, 0o1000


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ADMINISTRATION = _words(
    "acct adjtimex bpf chroot clock_adjtime clock_settime delete_module fanotify_init "
    "fanotify_mark finit_module fsconfig fsmount fsopen fspick init_module ioperm iopl "
    "kexec_file_load kexec_load lookup_dcookie lsm_set_self_attr mount mount_setattr move_mount "
    "name_to_handle_at nfsservctl open_by_handle_at open_tree open_tree_attr pivot_root quotactl "
    "quotactl_fd reboot setdomainname sethostname setns settimeofday swapoff swapon syslog "
    "umount2 unshare uselib vhangup"
)
_OTHER_PROCESSES = _words(
    "add_key kcmp keyctl migrate_pages move_pages perf_event_open pidfd_getfd process_madvise "
    "process_mrelease process_vm_readv process_vm_writev ptrace request_key userfaultfd"
)
# Programs that find these missing go on with an older way.
_MISSING = _words(
    "clone3 fchmodat2 futimesat io_uring_enter io_uring_register io_uring_setup mq_open "
    "mq_unlink utime utimes"
)
_SYSTEM_V_IPC = _words(
    "msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmget"
)
_ATTRIBUTES = _words(
    "file_setattr fremovexattr fsetxattr lremovexattr lsetxattr removexattr removexattrat "
    "setxattr setxattrat"
)
_OWNERS = _words("chown fchown fchownat lchown")
_ASKED_FILES = _words("chmod fchmod fchmodat utimensat")
_SELF_BY_FIRST = _words(
    "prlimit64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler"
)
_ASKED_SIGNALS = _words("kill rt_sigqueueinfo rt_tgsigqueueinfo tgkill tkill")


def refuse(error: int) -> int:
    """The answer that makes the call fail with `error`; 0 pretends that it succeeded."""
    return _ERRNO | error


@dataclass(frozen=True, slots=True)
class Test:
    """Holds when `argument & mask == value`, on the low 32 bits of the argument."""

    __test__ = False

    argument: int
    value: int
    mask: int = _ALL_BITS


@dataclass(frozen=True, slots=True)
class Rule:
    """`answer` for `call` when all tests hold; the first rule that matches a call decides."""

    call: str
    answer: int
    when: tuple[Test, ...] = ()


@lru_cache(maxsize=32)
def filter_program(machine: str, *, landlock_abi: int, inet: bool, own_ipc: bool) -> bytes:
    """The BPF program for one command: an array of `struct sock_filter`.

    `landlock_abi` decides which gaps of older kernels the filter must close, `inet` whether TCP
    sockets exist (their calls then go to the broker), `own_ipc` whether the command has System V
    IPC of its own.
    """
    rules = [*_general(), *_files(), *_processes(), *_sockets(inet=inet)]
    if not own_ipc:
        rules += _flat(_SYSTEM_V_IPC, refuse(errno.ENOSYS))
    if landlock_abi < 3:
        rules += _truncation()
    if landlock_abi < 6:
        rules += _signals()
    return assemble(rules, machine)


def _flat(calls: Iterable[str], answer: int) -> list[Rule]:
    return [Rule(call, answer) for call in calls]


def _general() -> list[Rule]:
    return [
        *_flat(_ADMINISTRATION, refuse(errno.EPERM)),
        *_flat(_OTHER_PROCESSES, refuse(errno.EPERM)),
        *_flat(_MISSING, refuse(errno.ENOSYS)),
        *(Rule("ioctl", refuse(errno.EPERM), (Test(1, code),)) for code in _IOCTL_DENIED),
    ]


def _files() -> list[Rule]:
    """Changes to files that Landlock does not guard, and set-uid files.

    A change of owner pretends to succeed: without capabilities it could only ever be refused, and
    installers that run as root (tar, npm) would stop.
    """
    places = (("open", 2), ("openat", 3), ("creat", 1), ("mknod", 1), ("mknodat", 2))
    set_id = [
        Rule(call, refuse(errno.EPERM), (Test(argument, bit, bit),))
        for call, argument in places
        for bit in _SET_ID_BITS
    ]
    return [
        *_flat(_ATTRIBUTES, refuse(errno.EOPNOTSUPP)),
        *_flat(_OWNERS, refuse(0)),
        *_flat(_ASKED_FILES, ASK),
        *set_id,
        Rule("openat2", refuse(errno.ENOSYS)),
    ]


def _processes() -> list[Rule]:
    """New processes are counted by the broker; other processes cannot be slowed or limited."""
    own = [Rule(call, ALLOW, (Test(0, 0),)) for call in _SELF_BY_FIRST]
    own.append(Rule("setpriority", ALLOW, (Test(0, 0), Test(1, 0))))
    own.append(Rule("ioprio_set", ALLOW, (Test(0, 1), Test(1, 0))))
    asked = [*_SELF_BY_FIRST, "setpriority", "ioprio_set", "fork", "vfork", "clone"]
    return [
        *(Rule("clone", refuse(errno.EPERM), (Test(0, b, b),)) for b in _CLONE_NAMESPACES),
        Rule("clone", ALLOW, (Test(0, _CLONE_THREAD, _CLONE_THREAD),)),
        *own,
        *_flat(asked, ASK),
    ]


def _sockets(*, inet: bool) -> list[Rule]:
    """Unix stream sockets, and TCP when `inet`; datagrams could be sent past every check."""
    kinds = (_SOCK_STREAM, _SOCK_SEQPACKET)
    rules = [
        Rule(call, ALLOW, (Test(0, AF_UNIX), Test(1, kind, _SOCK_TYPE_MASK)))
        for call in ("socket", "socketpair")
        for kind in kinds
    ]
    if inet:
        rules += [
            Rule(
                "socket",
                ALLOW,
                (Test(0, family), Test(1, _SOCK_STREAM, _SOCK_TYPE_MASK), Test(2, protocol)),
            )
            for family in (AF_INET, AF_INET6)
            for protocol in (0, _IPPROTO_TCP)
        ]
        # these two would connect without `connect`
        fast_open = (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3))
        rules += [
            Rule(call, refuse(errno.EPERM), (Test(arg, _MSG_FASTOPEN, _MSG_FASTOPEN),))
            for call, arg in fast_open
        ]
        rules += _flat(("bind", "listen"), ASK)
    rules += _flat(("socket", "socketpair"), refuse(errno.EACCES))
    return [*rules, Rule("connect", ASK)]


def _truncation() -> list[Rule]:
    """What Landlock before ABI 3 lets through: truncating a file that may only be read."""
    read_only = Test(2, _O_TRUNC, _O_ACCMODE | _O_TRUNC)
    return [
        Rule("truncate", refuse(errno.EACCES)),
        Rule("openat", refuse(errno.EACCES), (read_only,)),
        Rule("open", refuse(errno.EACCES), (Test(1, _O_TRUNC, _O_ACCMODE | _O_TRUNC),)),
    ]


def _signals() -> list[Rule]:
    """What Landlock before ABI 6 lets through: signals to processes outside."""
    owners = [
        Rule("fcntl", refuse(errno.EPERM), (Test(1, code),)) for code in (_F_SETOWN, _F_SETOWN_EX)
    ]
    return [
        *_flat(_ASKED_SIGNALS, ASK),
        Rule("pidfd_send_signal", refuse(errno.ENOSYS)),
        *owners,
    ]


def assemble(rules: Sequence[Rule], machine: str) -> bytes:
    """The rules as a BPF program that allows every other call known to the table."""
    program = [
        _instruction(_LOAD, _OFFSET_ARCH),
        _instruction(_JUMP_EQUAL, AUDIT_ARCH[machine], if_true=1),
        _instruction(_RETURN, KILL_PROCESS),
        _instruction(_LOAD, _OFFSET_NUMBER),
        _instruction(_JUMP_GREATER_EQUAL, X32_BIT, if_false=1),
        _instruction(_RETURN, refuse(errno.ENOSYS)),
        _instruction(_JUMP_GREATER, HIGHEST_KNOWN, if_false=1),
        _instruction(_RETURN, refuse(errno.ENOSYS)),
    ]
    by_call: dict[str, list[Rule]] = {}
    for rule in rules:
        by_call.setdefault(rule.call, []).append(rule)
    for call, own in by_call.items():
        nr = number(call, machine)
        if nr is not None:
            block = _block(own)
            program += [_instruction(_JUMP_EQUAL, nr, if_false=len(block)), *block]
    return b"".join([*program, _instruction(_RETURN, ALLOW)])


def _block(rules: Sequence[Rule]) -> list[bytes]:
    """The instructions for one call; every path through them ends in a return."""
    block: list[bytes] = []
    for rule in rules:
        block += _rule(rule)
        if not rule.when:
            return block
    return [*block, _instruction(_RETURN, ALLOW)]


def _rule(rule: Rule) -> list[bytes]:
    """The tests of one rule, each jumping behind the rule when it fails."""
    lengths = [2 if test.mask == _ALL_BITS else 3 for test in rule.when]
    behind = sum(lengths) + 1
    code: list[bytes] = []
    for test, length in zip(rule.when, lengths, strict=True):
        behind -= length
        code.append(_instruction(_LOAD, _OFFSET_ARGS + 8 * test.argument))
        if length == 3:
            code.append(_instruction(_AND, test.mask))
        code.append(_instruction(_JUMP_EQUAL, test.value, if_false=behind))
    return [*code, _instruction(_RETURN, rule.answer)]


def _instruction(code: int, operand: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """One `struct sock_filter`; the jumps count the instructions to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, operand)
