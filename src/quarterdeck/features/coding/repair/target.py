"""A private copy of the project in which fork servers run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quarterdeck.features.coding.repair.forkserver_client import ForkServer, install_plugin
from quarterdeck.features.coding.repair.project import TestCommand, copy_tree


@dataclass(frozen=True, slots=True)
class Target:
    """One worker's copy: `root` is the copy, `origin` the tree it was made from."""

    root: Path
    origin: Path
    plugin: Path
    command: TestCommand
    env: Mapping[str, str]

    async def start_server(self, mode: str) -> ForkServer:
        """Start a fork server in the copy; `mode` is "swap" or "import"."""
        paths = [str(self.plugin), self.env.get("PYTHONPATH", "")]
        env = {
            "PATH": os.environ.get("PATH", ""),
            **self.env,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "QUARTERDECK_REPAIR_MODE": mode,
            "QUARTERDECK_REPAIR_ROOT": str(self.root),
            "QUARTERDECK_REPAIR_ORIGIN": str(self.origin),
        }
        return await ForkServer.start(self.command.argv, cwd=self.root, env=env)


async def make_target(
    origin: Path, scratch: Path, number: int, command: TestCommand, env: Mapping[str, str]
) -> Target:
    """Copy the project for worker `number`. Raises TooLarge."""
    home = scratch / f"worker-{number}"
    root = home / origin.name
    await asyncio.to_thread(copy_tree, origin, root)
    plugin = await asyncio.to_thread(install_plugin, home)
    return Target(root, origin, plugin, command, env)
