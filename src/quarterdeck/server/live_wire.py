"""How frames leave a live socket: by the server's own wire, else through ASGI's `send`."""

from __future__ import annotations

import asyncio
from typing import Protocol

from starlette.types import Scope, Send

from quarterdeck.server.live_protocol import Frame

EXTENSION = "quarterdeck.live"
"""The ASGI extension under which a server offers its own wire (`live_uvicorn.DirectWire`)."""


class Gone(Exception):
    """The client is not there any more."""


class Wire(Protocol):
    """One client's way out."""

    def write(self, frame: Frame) -> bool:
        """Take the frame now, or say False: the client has not read what it has."""
        ...

    async def ready(self) -> None:
        """Wait until a frame can be taken; raises Gone when that will never be."""
        ...

    async def run(self) -> None:
        """Do the wire's own work as long as the socket lives."""
        ...

    def abort(self) -> None:
        """Drop the connection with all that it has not read."""
        ...


class AsgiWire:
    """Hands frames, one at a time, to the `send` of whatever server this is."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._frame: Frame | None = None
        self._filled = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    def write(self, frame: Frame) -> bool:
        if not self._free.is_set():
            return False
        self._frame = frame
        self._free.clear()
        self._filled.set()
        return True

    async def ready(self) -> None:
        await self._free.wait()

    async def run(self) -> None:
        """Send what is written, one frame after the other."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            if self._frame is not None:
                await self._send({"type": "websocket.send", "text": self._frame.text})
            self._free.set()

    def abort(self) -> None:
        """Nothing to do: the server closes what the ending application leaves open."""


def wire_of(scope: Scope, send: Send) -> Wire:
    """The best way out that the server offers."""
    direct: Wire | None = scope.get("extensions", {}).get(EXTENSION)
    return AsgiWire(send) if direct is None else direct
