"""The WebSocket protocol of uvicorn, which lets a live socket write whole frames into its transport.

A frame that is the same for a thousand clients is then written as it is: no task, no queue and no
framing for each of them. `SETTINGS` are what `uvicorn.Config` needs for it.
"""

from __future__ import annotations

from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from quarterdeck.server.live_protocol import CLIENT_FRAME_BYTES_MAX, Frame
from quarterdeck.server.live_wire import EXTENSION, Gone

BUFFER_BYTES = 32 * 1024
"""What may wait for the kernel before a client counts as slow; one frame can come on top."""
PING_S = 20.0


class DirectWire:
    """Writes whole frames into uvicorn's transport."""

    def __init__(self, protocol: WebSocketsSansIOProtocol) -> None:
        self._protocol = protocol
        protocol.transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def write(self, frame: Frame) -> bool:
        if self._gone or not self._protocol.writable.is_set():
            return False
        self._protocol.transport.write(frame.wire)
        return True

    async def ready(self) -> None:
        await self._protocol.writable.wait()
        if self._gone:
            raise Gone

    async def run(self) -> None:
        """Nothing to do: uvicorn's transport does it all."""

    def abort(self) -> None:
        self._protocol.transport.abort()

    @property
    def _gone(self) -> bool:
        protocol = self._protocol
        return protocol.close_sent or protocol.disconnected or protocol.transport.is_closing()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol with a direct wire as an ASGI extension."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions[EXTENSION] = DirectWire(self)


SETTINGS: dict[str, Any] = {
    "ws": WebSocketProtocol,
    "ws_max_size": CLIENT_FRAME_BYTES_MAX,
    "ws_ping_interval": PING_S,
    "ws_ping_timeout": PING_S,
    # Compression would cost each client its own copy and CPU; what is sent goes to loopback.
    "ws_per_message_deflate": False,
}
"""Limits and heartbeat of every WebSocket, as keyword arguments of `uvicorn.Config`."""
