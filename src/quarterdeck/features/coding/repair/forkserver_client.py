"""The product's end of the fork server: start it confined, send requests, read what comes back."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from quarterdeck.core.errors import StepFailed, TooLarge
from quarterdeck.core.events import Json

PLUGIN = "quarterdeck_forkserver"
_LINE_BYTES_MAX = 16 << 20
_ERROR_BYTES_MAX = 64 << 10
_STOP_S = 2.0


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
    """One running fork server; one request at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._buffer = b""
        self._errors = bytearray()
        self._reading = asyncio.ensure_future(self._read_errors())

    @classmethod
    async def start(cls, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> ForkServer:
        """Start the server; it answers once collection is over (see `receive`)."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=dict(env),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return cls(process)

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(1 << 14):
            self._errors.extend(chunk)
            del self._errors[:-_ERROR_BYTES_MAX]

    @property
    def errors(self) -> str:
        """The last of what the target wrote to its error stream."""
        return self._errors.decode(errors="replace")

    async def receive(self) -> dict[str, Json]:
        """The next message. Raises StepFailed when the server is gone, TooLarge for a huge line."""
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            chunk = await self._process.stdout.read(1 << 16)
            if not chunk:
                raise StepFailed(
                    f"The test process ended: {self.errors[-600:].strip() or 'without a word'}"
                )
            self._buffer += chunk
            if len(self._buffer) > _LINE_BYTES_MAX:
                raise TooLarge("The test process sent an overlong message.")
        line, self._buffer = self._buffer.split(b"\n", 1)
        message = json.loads(line)
        if not isinstance(message, dict):
            raise StepFailed("The test process sent something that is not a message.")
        return message

    async def stream(self, request: Mapping[str, Json]) -> AsyncIterator[dict[str, Json]]:
        """Send a request and yield all messages up to and including its `end`."""
        assert self._process.stdin is not None
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
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), _STOP_S)
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading
