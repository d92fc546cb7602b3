"""A private copy of the project in which fork servers run, confined to it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from quarterdeck.confine import Confinement, Limits, Network, probe
from quarterdeck.features.coding.repair.forkserver_client import ForkServer, install_plugin
from quarterdeck.features.coding.repair.project import TestCommand, copy_tree

_LIMITS = Limits(file_bytes=256 << 20, disk_bytes=1 << 30, processes=128)


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
            **self.env,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "QUARTERDECK_REPAIR_MODE": mode,
            "QUARTERDECK_REPAIR_ROOT": str(self.root),
            "QUARTERDECK_REPAIR_ORIGIN": str(self.origin),
        }
        return await ForkServer.start(
            self.command.argv, cwd=self.root, env=env, confinement=self._confinement()
        )

    def _confinement(self) -> Confinement:
        """Only the copy is writable; the original tree is readable for environments inside it."""
        places = [self.plugin, self.origin, *environment_places(Path(self.command.argv[0]))]
        return Confinement(
            readable=tuple(dict.fromkeys(places)),
            writable=(self.root.parent,),
            network=Network.LOOPBACK if probe().network else Network.NONE,
            limits=_LIMITS,
        )


def environment_places(program: Path) -> Iterator[Path]:
    """The virtual environment a program lies in, and the installation that one is based on."""
    prefix = program.parent.parent
    settings = prefix / "pyvenv.cfg"
    if not program.is_absolute() or not settings.is_file():
        return
    yield prefix
    for line in settings.read_text().splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "home" and (base := Path(value.strip())).is_dir():
            yield base.resolve().parent


async def make_target(
    origin: Path, scratch: Path, number: int, command: TestCommand, env: Mapping[str, str]
) -> Target:
    """Copy the project for worker `number`. Raises TooLarge."""
    home = scratch / f"worker-{number}"
    await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
    root = home / origin.name
    await asyncio.to_thread(copy_tree, origin, root)
    plugin = await asyncio.to_thread(install_plugin, scratch)
    return Target(root, origin, plugin, command, env)
