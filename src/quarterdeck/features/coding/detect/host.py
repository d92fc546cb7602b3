"""What this machine can run: tools on the PATH and Python interpreters."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that can run pytest; `readable` are the places it needs to read."""

    path: str
    why: str
    readable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """Facts about the machine, passed in so that detection stays a pure function.

    `which` answers where a tool is. `own` is the product's own interpreter, `venv` the target's
    own environment when it can run pytest, `pinned` finds an interpreter for a version such as
    "3.12" that can run pytest. `plugins` are pytest's plugins beside our own interpreter, as
    (name, distribution).
    """

    which: Callable[[str], str | None]
    own: Interpreter
    venv: Interpreter | None = None
    pinned: Callable[[str], Interpreter | None] = lambda _version: None
    plugins: tuple[tuple[str, str], ...] = ()


def this_host(checkout: Path | None = None) -> Host:
    """The machine we run on; `checkout` is the target's own checkout, whose `.venv` may serve."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    own = Interpreter(sys.executable, f"Quarterdeck's own Python {version}")
    venv = environment_of(checkout / ".venv") if checkout else None
    return Host(shutil.which, own, venv, _pinned, _plugins())


def environment_of(venv: Path) -> Interpreter | None:
    """The virtual environment's interpreter, or None when it cannot run pytest."""
    python = venv / "bin" / "python"
    if not os.access(python, os.X_OK) or not has_pytest(venv):
        return None
    base = python.resolve().parent.parent
    return Interpreter(
        str(python), "the target's own .venv, read-only", (str(venv.resolve()), str(base))
    )


def has_pytest(prefix: Path) -> bool:
    """Whether the Python below `prefix` has pytest, told from its files without running it."""
    patterns = ("lib/python3*/site-packages/pytest", "lib/python3*/dist-packages/pytest")
    return any(found for pattern in patterns for found in prefix.glob(pattern))


def _plugins() -> tuple[tuple[str, str], ...]:
    found = entry_points(group="pytest11")
    return tuple(sorted((point.name, point.dist.name) for point in found if point.dist))


def _pinned(version: str) -> Interpreter | None:
    path = shutil.which(f"python{version}")
    if path is None:
        return None
    prefix = Path(path).resolve().parent.parent
    if not has_pytest(prefix):
        return None
    return Interpreter(path, f"python{version} on the PATH, as pinned", (str(prefix),))
