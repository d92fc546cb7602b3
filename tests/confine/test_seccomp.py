"""The filter does what its rules say, by running the BPF program on the calls."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.confine import landlock
from quarterdeck.confine.seccomp import (
    ALLOW,
    ASK,
    KILL_PROCESS,
    Rule,
    Test,
    assemble,
    filter_program,
    refuse,
)
from quarterdeck.confine.syscalls import AUDIT_ARCH, number, numbers

MACHINES = sorted(AUDIT_ARCH)


def answer(program: bytes, nr: int, arguments: tuple[int, ...], arch: int) -> int:
    """What the kernel's interpreter would say to one call."""
    data = struct.pack("=IIQ6Q", nr, arch, 0, *arguments)
    code = list(struct.iter_unpack("=HBBI", program))
    place = accumulator = 0
    while True:
        operation, if_true, if_false, operand = code[place]
        place += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x06:
                return operand
            case 0x15:
                place += if_true if accumulator == operand else if_false
            case 0x25:
                place += if_true if accumulator > operand else if_false
            case 0x35:
                place += if_true if accumulator >= operand else if_false
            case _:
                pytest.fail(f"{operation:#x} is not used")


def asked(call: str, *arguments: int, machine: str = "x86_64", **options: object) -> int:
    settings = {"landlock_abi": 7, "inet": False, "own_ipc": False, **options}
    program = filter_program(machine, **settings)
    nr = number(call, machine)
    assert nr is not None
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    return answer(program, nr, padded, AUDIT_ARCH[machine])


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("call", ["ptrace", "mount", "bpf", "keyctl", "setns", "unshare"])
def test_what_nobody_needs_is_refused(machine, call):
    assert asked(call, machine=machine) == refuse(errno.EPERM)


@pytest.mark.parametrize(
    ("call", "arguments", "options", "expected"),
    [
        ("clone3", (), {}, refuse(errno.ENOSYS)),
        ("io_uring_setup", (), {}, refuse(errno.ENOSYS)),
        ("clone", (0x10000000 | 17,), {}, refuse(errno.EPERM)),
        ("clone", (0x10900,), {}, ALLOW),
        ("clone", (17,), {}, ASK),
        ("chown", (), {}, refuse(0)),
        ("chmod", (), {}, ASK),
        ("socket", (1, 1, 0), {}, ALLOW),
        ("socket", (1, 1 | 0o2004000, 0), {}, ALLOW),
        ("socket", (1, 2, 0), {}, refuse(errno.EACCES)),
        ("socket", (2, 1, 0), {}, refuse(errno.EACCES)),
        ("socket", (2, 1, 6), {"inet": True}, ALLOW),
        ("socket", (2, 1, 262), {"inet": True}, refuse(errno.EACCES)),
        ("socket", (2, 2, 0), {"inet": True}, refuse(errno.EACCES)),
        ("socket", (16, 3, 0), {"inet": True}, refuse(errno.EACCES)),
        ("bind", (), {}, ALLOW),
        ("bind", (), {"inet": True}, ASK),
        ("sendto", (0, 0, 0, 0x20000000), {"inet": True}, refuse(errno.EPERM)),
        ("ioctl", (0, 0x5412), {}, refuse(errno.EPERM)),
        ("ioctl", (0, 0x1_0000_5412), {}, refuse(errno.EPERM)),
        ("ioctl", (0, 0x5401), {}, ALLOW),
        ("openat", (0, 0, 0o101, 0o4755), {}, refuse(errno.EPERM)),
        ("openat", (0, 0, 0o101, 0o755), {}, ALLOW),
        ("prlimit64", (0,), {}, ALLOW),
        ("prlimit64", (1,), {}, ASK),
        ("kill", (1,), {}, ALLOW),
        ("kill", (1,), {"landlock_abi": 5}, ASK),
        ("truncate", (), {}, ALLOW),
        ("truncate", (), {"landlock_abi": 2}, refuse(errno.EACCES)),
        ("openat", (0, 0, 0o1000), {"landlock_abi": 2}, refuse(errno.EACCES)),
        ("openat", (0, 0, 0o1001), {"landlock_abi": 2}, ALLOW),
        ("shmget", (), {}, refuse(errno.ENOSYS)),
        ("shmget", (), {"own_ipc": True}, ALLOW),
    ],
)
def test_single_answers(call, arguments, options, expected):
    assert asked(call, *arguments, **options) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_strange_calls_are_refused(machine):
    program = filter_program(machine, landlock_abi=7, inet=True, own_ipc=True)
    arch = AUDIT_ARCH[machine]
    assert answer(program, 0, (0,) * 6, arch ^ 1) == KILL_PROCESS
    assert answer(program, 0x40000000 + 39, (0,) * 6, arch) == refuse(errno.ENOSYS)
    assert answer(program, 470, (0,) * 6, arch) == refuse(errno.ENOSYS)
    assert answer(program, 0, (0,) * 6, arch) == ALLOW
    assert len(program) // 8 <= 4096


@pytest.mark.parametrize("machine", MACHINES)
def test_no_number_stands_for_two_calls(machine):
    known = [name for name in numbers("x86_64").values() if number(name, machine) is not None]
    assert len({number(name, machine) for name in known}) == len(known)


arguments = st.tuples(*[st.integers(0, 2**64 - 1) | st.integers(0, 3)] * 6)
masks = st.just(0xFFFFFFFF) | st.integers(0, 0xFFFFFFFF)
tests = st.builds(Test, st.integers(0, 5), st.integers(0, 3) | st.integers(0, 0xFFFFFFFF), masks)
rules = st.builds(
    Rule,
    st.sampled_from(["kill", "socket", "openat"]),
    st.sampled_from([ALLOW, ASK, refuse(1), refuse(38)]),
    st.lists(tests, max_size=4).map(tuple),
)


@given(
    st.lists(rules, max_size=8), st.sampled_from(["kill", "socket", "openat", "mount"]), arguments
)
def test_the_program_agrees_with_the_rules(given_rules, call, values):
    expected = next(
        (
            rule.answer
            for rule in given_rules
            if rule.call == call
            and all(values[t.argument] & 0xFFFFFFFF & t.mask == t.value for t in rule.when)
        ),
        ALLOW,
    )
    nr = number(call, "x86_64")
    assert nr is not None
    found = answer(assemble(given_rules, "x86_64"), nr, values, AUDIT_ARCH["x86_64"])
    assert found == expected


@given(st.integers(1, 12), st.booleans())
def test_no_right_is_asked_for_that_the_kernel_does_not_know(abi, is_dir):
    handled = landlock.handled_fs(abi)
    for wanted in (landlock.READ, landlock.WRITE, landlock.DEVICE, landlock.UNLISTED):
        assert landlock.access(wanted, abi, is_dir=is_dir) & ~int(handled) == 0
    assert int(handled).bit_length() == {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)
