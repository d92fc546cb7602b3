"""The product's end of the fork server: start it confined, send requests, read what comes back."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from quarterdeck.confine import ConfinedProcess, Confinement, start_command
from quarterdeck.core.errors import InvalidInput, TooLarge, Unavailable
from quarterdeck.core.events import Json

PLUGIN = "quarterdeck_forkserver"
_LINE_BYTES_MAX = 16 << 20
_ERROR_BYTES_MAX = 64 << 10


def install_plugin(scratch: Path) -> Path:
    """Copy the plugin below `scratch` and return the folder to put on the target's PYTHONPATH."""
    home = scratch / "plugin"
    package = home / PLUGIN
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    for file in sorted((Path(__file__).parent / "forkserver").glob("*.py")):
        shutil.copyfile(file, package / file.name)
    return home


class ForkServer:
    """One running fork server, confined; one request at a time. Use `stop` when done."""

    def __init__(self, process: ConfinedProcess) -> None:
        self._process = process
        self._buffer = b""

    @classmethod
    async def start(
        cls, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], confinement: Confinement
    ) -> ForkServer:
        """Start the server; it speaks first, once collection is over (see `receive`).

        Raises what `start_command` raises.
        """
        return cls(await start_command(argv, cwd=cwd, env=env, confinement=confinement))

    async def _last_words(self) -> str:
        """The end of what the target wrote to its error stream, which is over."""
        said = await self._process.stderr.read(_ERROR_BYTES_MAX)
        return said.decode(errors="replace")[-600:].strip()

    async def receive(self) -> dict[str, Json]:
        """The next message. Raises Unavailable when the server is gone, TooLarge for a huge line."""
        while b"\n" not in self._buffer:
            chunk = await self._process.stdout.read(1 << 16)
            if not chunk:
                words = await self._last_words() or "it said nothing"
                raise Unavailable(
                    f"The project's tests cannot be collected: {words}", where="test command"
                )
            self._buffer += chunk
            if len(self._buffer) > _LINE_BYTES_MAX:
                raise TooLarge("The test process sent an overlong message.")
        line, self._buffer = self._buffer.split(b"\n", 1)
        message = json.loads(line)
        if not isinstance(message, dict):
            raise InvalidInput("The test process sent something that is no message.")
        return message

    async def stream(self, request: Mapping[str, Json]) -> AsyncIterator[dict[str, Json]]:
        """Send a request and yield all messages up to and including its `end`."""
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        await self._process.stdin.drain()
        while True:
            message = await self.receive()
            yield message
            if message["event"] == "end":
                return

    async def ask(self, request: Mapping[str, Json]) -> dict[str, Json]:
        """Send a request; all its messages merged into one, later ones over earlier ones."""
        answer: dict[str, Json] = {}
        async for message in self.stream(request):
            answer |= message
        return answer

    async def stop(self) -> None:
        """End the server and everything it started."""
        await self._process.aclose()
