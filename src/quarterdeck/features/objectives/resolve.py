"""Looks up the addresses of a name with the machine's own resolver."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from quarterdeck.features.objectives.scope import is_address

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) → its addresses; raises OSError when there are none."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a host, in the order that the system prefers; an address is its own.

    Raises:
        OSError: when the name has none.
    """
    if is_address(host):
        return [host]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
