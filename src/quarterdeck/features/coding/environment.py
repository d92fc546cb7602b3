"""What the tests ran on, as far as it can decide their outcome."""

from __future__ import annotations

import hashlib
import platform
import shutil
from pathlib import Path
from typing import Any

from quarterdeck.features.coding.commands import Commands

PACKAGES_MAX = 2000


def environment_of(commands: Commands) -> dict[str, Any]:
    """System, tools by hash and Python packages, with `digest` over all of it.

    A tool that is made by the set-up itself is None: it is part of the tree.
    """
    stated = [c for c in (commands.setup, commands.build, commands.test) if c is not None]
    tools = {command.argv[0]: _tool_digest(command.argv[0]) for command in stated}
    facts: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "release": platform.release(),
        "tools": tools,
        "packages": _packages(commands.test.argv[0]) if commands.test else [],
    }
    lines = repr(sorted((key, repr(value)) for key, value in facts.items()))
    return {**facts, "digest": hashlib.sha256(lines.encode()).hexdigest()}


def _tool_digest(tool: str) -> str | None:
    path = tool if tool.startswith("/") else shutil.which(tool)
    if path is None or not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _packages(tool: str) -> list[str]:
    """The distributions (`name-version`) beside a Python interpreter; [] for other tools."""
    prefix = Path(tool).parent.parent
    if not Path(tool).is_absolute() or not Path(tool).name.startswith("python"):
        return []
    found = prefix.glob("lib/python3*/site-packages/*.dist-info")
    return sorted(path.stem for path in found)[:PACKAGES_MAX]
