"""Landlock access rights: what is handled, and what a readable or a writable place is given.

Source: Linux `landlock.h` and the kernel's userspace-api/landlock. A right that the kernel's ABI
does not know must not be asked for, so every mask is cut to the ABI.
"""

from __future__ import annotations

from enum import IntFlag


class Access(IntFlag):
    """LANDLOCK_ACCESS_FS_*."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


NET_BIND_AND_CONNECT_TCP = 0b11
SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11

_EVERYTHING = Access(0xFFFF)
_SINCE = {Access.REFER: 2, Access.TRUNCATE: 3, Access.IOCTL_DEV: 5}

READ = Access.EXECUTE | Access.READ_FILE | Access.READ_DIR
WRITE = _EVERYTHING & ~(Access.MAKE_CHAR | Access.MAKE_BLOCK | Access.IOCTL_DEV)
DEVICE = Access.READ_FILE | Access.WRITE_FILE
UNLISTED = WRITE & ~(Access.READ_DIR | Access.EXECUTE)
"""Files can be made and opened by name, but not listed or run."""

_FILE = Access.EXECUTE | Access.READ_FILE | Access.WRITE_FILE | Access.TRUNCATE


def handled_fs(abi: int) -> Access:
    """Every right on files that this ABI can take away."""
    missing = (right for right, since in _SINCE.items() if abi < since)
    handled = _EVERYTHING
    for right in missing:
        handled &= ~right
    return handled


def handled_net(abi: int) -> int:
    """TCP bind and connect, from ABI 4."""
    return NET_BIND_AND_CONNECT_TCP if abi >= 4 else 0


def scoped(abi: int) -> int:
    """Signals and abstract Unix sockets stay within the sandbox, from ABI 6."""
    return SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if abi >= 6 else 0


def access(wanted: Access, abi: int, *, is_dir: bool) -> int:
    """`wanted` cut to what the ABI knows and what a file (instead of a directory) can have."""
    granted = wanted & handled_fs(abi)
    return int(granted if is_dir else granted & _FILE)
