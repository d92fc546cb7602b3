"""What every command needs of this machine: programs, libraries, a few files of /etc, devices."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from quarterdeck.confine.landlock import DEVICE, READ, UNLISTED, Access


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")

# Of /etc only what programs need to start, look up names and verify certificates.
_ETC = _words(
    "alternatives ca-certificates ca-certificates.conf crypto-policies debian_version dotnet fonts "
    "group host.conf hosts java java-8-openjdk java-11-openjdk java-17-openjdk java-21-openjdk "
    "java-25-openjdk ld.so.cache ld.so.conf ld.so.conf.d locale.alias localtime magic maven "
    "mime.types nsswitch.conf os-release passwd perl php pki/ca-trust pki/tls/certs protocols "
    "python3 services ssl/certs ssl/openssl.cnf terminfo timezone xml"
)

# Where version managers keep toolchains below a home directory; never the whole of it.
_HOME = _words(
    ".asdf/installs .bun/bin .cargo/bin .cargo/registry .deno/bin .dotnet/dotnet .dotnet/host .dotnet/packs .dotnet/sdk .dotnet/shared .local/share/mise/installs "
    ".local/share/uv/python .nvm/versions .pyenv/versions .rustup/settings.toml .rustup/toolchains "
    ".sdkman/candidates .volta/bin .volta/tools go/bin"
)

# Facts about the machine, never about a process.
_KERNEL_FACTS = _words(
    "/proc/cpuinfo /proc/filesystems /proc/loadavg /proc/meminfo /proc/stat /proc/uptime "
    "/proc/version /proc/sys/kernel/osrelease /proc/sys/kernel/ostype /proc/sys/kernel/pid_max "
    "/proc/sys/kernel/random /proc/sys/kernel/cap_last_cap /proc/sys/kernel/ngroups_max "
    "/proc/sys/vm/overcommit_memory /proc/sys/vm/max_map_count /sys/devices/system/cpu "
    "/sys/devices/system/node /sys/kernel/mm/transparent_hugepage"
)

_DEVICES = _words("/dev/null /dev/zero /dev/full /dev/random /dev/urandom")

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where glibc has it


@lru_cache(maxsize=1)
def toolchain() -> tuple[tuple[str, Access], ...]:
    """What is readable by default on this machine, as existing (path, access) pairs."""
    readable = [*_SYSTEM, *(f"/etc/{name}" for name in _ETC), *_KERNEL_FACTS, *_python()]
    readable += [str(Path.home() / name) for name in _HOME]
    readable += _optional_packages(os.environ.get("PATH", "").split(":"))
    rules = [(path, READ) for path in readable] + [(path, DEVICE) for path in _DEVICES]
    return tuple(dict.fromkeys((path, access) for path, access in rules if os.path.exists(path)))


def when_shared() -> tuple[tuple[str, Access], ...]:
    """What is added when the command shares processes and memory with the machine.

    Of /proc only the command's own directory. Shared memory can be opened by name, because
    semaphores live there, but not listed.
    """
    return (("/proc/self", READ), (SHARED_MEMORY, UNLISTED))


def when_own() -> tuple[tuple[str, Access], ...]:
    """What is added when the command has /proc, shared memory and terminals of its own."""
    terminal = DEVICE | Access.IOCTL_DEV
    return (
        ("/proc", READ),
        (SHARED_MEMORY, UNLISTED | Access.READ_DIR),
        ("/dev/pts", terminal | Access.READ_DIR),
        ("/dev/ptmx", terminal),
    )


def search_path(toolchain_dirs: Iterable[str] = ()) -> str:
    """PATH for a command: the server's own interpreter first, then its PATH where readable."""
    readable = [path for path, access in toolchain() if Access.EXECUTE in access]
    given = [entry for entry in os.environ.get("PATH", "").split(":") if entry.startswith("/")]
    wanted = [
        *toolchain_dirs,
        str(Path(sys.prefix) / "bin"),
        *(entry for entry in given if _within(entry, readable)),
        "/usr/local/bin",
        "/usr/bin",
        "/bin",
    ]
    return ":".join(dict.fromkeys(wanted))


def _within(path: str, places: Iterable[str]) -> bool:
    real = os.path.realpath(path)
    return any(real == place or real.startswith(f"{place}/") for place in map(_real, places))


@lru_cache(maxsize=256)
def _real(path: str) -> str:
    return os.path.realpath(path)


def _python() -> Iterator[str]:
    """The interpreter that runs the server, its base, and what their links lead to."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    real = {os.path.realpath(prefix) for prefix in prefixes}
    home = Path(os.path.realpath(sys.executable)).parent.parent
    yield from sorted((prefixes | real | {str(home)}) - {"/"})


def _optional_packages(entries: Iterable[str]) -> list[str]:
    """/opt/NAME for each entry of PATH that lies below it."""
    real = (Path(os.path.realpath(entry)).parts for entry in entries if entry.startswith("/"))
    return sorted({"/".join(("", *parts[1:3])) for parts in real if parts[1:2] == ("opt",)})
