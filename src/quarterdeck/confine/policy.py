"""What a confined command may touch and use: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from quarterdeck.core.errors import InvalidInput

MIB = 1024 * 1024
GIB = 1024 * MIB


class Level(StrEnum):
    """How strongly commands are confined, strongest first."""

    NAMESPACE = "namespace"
    """As `process`, with processes, /proc, shared memory and IPC of its own."""
    PROCESS = "process"
    """Landlock, seccomp, resource limits, cleared environment, no capabilities."""
    WEAK = "weak"
    """No Landlock: files of the same user are open. Only with the administrator's consent."""
    NONE = "none"
    """This machine cannot confine at all."""


class StoppedBy(StrEnum):
    """The limit that ended a command; each but the last two is a field of `Limits`."""

    MEMORY = "memory_bytes"
    CPU = "cpu_s"
    PROCESSES = "processes"
    THREADS = "threads"
    FILE = "file_bytes"
    DISK = "disk_bytes"
    FILES = "files"
    OUTPUT = "output_stop_bytes"
    TIMEOUT = "timeout_s"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one command with all its descendants together, unless said otherwise.

    `memory_bytes` is resident memory. `cpu_s` is CPU time over all cores. `processes` and
    `threads` count what is alive at once. `file_bytes` bounds each single file, `disk_bytes` and
    `files` the growth of the writable places. Of the output at most `output_bytes` are kept per
    stream (head and tail); past `output_stop_bytes` in total the command is stopped.
    `address_space_bytes` is virtual memory per process, off by default because V8 reserves far
    more than it uses. `open_files` is per process.

    Raises:
        InvalidInput: when a limit is not positive.
    """

    memory_bytes: int = 4 * GIB
    cpu_s: float = 3600.0
    processes: int = 256
    threads: int = 4096
    file_bytes: int = GIB
    disk_bytes: int = 4 * GIB
    files: int = 250_000
    output_bytes: int = 4 * MIB
    output_stop_bytes: int = 256 * MIB
    address_space_bytes: int | None = None
    open_files: int = 4096

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InvalidInput(
                    f"{value} is not a limit.", where=f"limits.{name}", hint="Give more than 0."
                )


@dataclass(frozen=True, slots=True)
class Network:
    """Which TCP a confined command has; there is never UDP, and never another machine.

    `ports` are the ports on this machine's loopback that it may connect to. With `own_servers`
    it may also open servers on loopback (on ports above 1023) and connect to these.
    """

    ports: frozenset[int] = frozenset()
    own_servers: bool = False

    NONE: ClassVar[Network]
    LOOPBACK: ClassVar[Network]

    def __post_init__(self) -> None:
        wrong = [port for port in self.ports if not 0 < port < 65_536]
        if wrong:
            raise InvalidInput(
                f"{wrong[0]} is not a TCP port.", where="network.ports", hint="Give 1 to 65535."
            )

    @staticmethod
    def loopback(*ports: int, own_servers: bool = False) -> Network:
        """May connect to these ports of 127.0.0.1 and ::1."""
        return Network(frozenset(ports), own_servers)

    @property
    def inet(self) -> bool:
        """Whether there is any TCP at all."""
        return bool(self.ports) or self.own_servers


Network.NONE = Network()
Network.LOOPBACK = Network(own_servers=True)


@dataclass(frozen=True, slots=True)
class Confinement:
    """What one command may touch.

    `readable` and `writable` are existing files or directories, as absolute paths; a writable one
    is readable too, and both may hold programs. The toolchain is readable unless `toolchain` is
    False. `home` and `tmp` are the command's HOME and TMPDIR; they become writable. Those not
    given are made for the run and removed after it, in the system's temporary directory: in the
    tree they would show up in its `git status`, and Unix sockets need short paths. `namespaces` False keeps the command among the machine's
    processes even where namespaces are to be had. `allow_weak` is the administrator's consent to run without
    Landlock where the kernel has none.

    Raises:
        InvalidInput: when a path is not absolute.
    """

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    network: Network = Network.NONE
    limits: Limits = field(default_factory=Limits)
    home: Path | None = None
    tmp: Path | None = None
    toolchain: bool = True
    namespaces: bool = True
    allow_weak: bool = False

    def __post_init__(self) -> None:
        for name in ("readable", "writable"):
            for path in getattr(self, name):
                _require_absolute(path, name)
        for name in ("home", "tmp"):
            path = getattr(self, name)
            if path is not None:
                _require_absolute(path, name)


def _require_absolute(path: Path, name: str) -> None:
    if not path.is_absolute():
        raise InvalidInput(f"{str(path)!r} is not an absolute path.", where=f"confinement.{name}")
