"""HTTP to one checked address at a time: no cookies, no proxies, no kept connections.

Import it in a thread: the HTTP library and the trusted certificates are slow to load.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx2

from quarterdeck.features.objectives.miss import NotConnected, Refused
from quarterdeck.features.objectives.robots import AGENT
from quarterdeck.features.objectives.scope import Target, authority

CONNECT_S = 5.0
_FOREVER = {"connect": CONNECT_S, "read": None, "write": None, "pool": None}
"""Only connecting has a time-out here: who asks owns the clock."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's status and headers; the body is yet to be read."""

    status: int
    headers: Mapping[str, str]
    response: httpx2.Response

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it was sent, piece by piece.

        Raises:
            Refused: when it breaks off.
        """
        assert isinstance(self.response.stream, httpx2.AsyncByteStream)
        try:
            async for chunk in self.response.stream:
                yield chunk
        except httpx2.TransportError as error:
            raise Refused("fetch.network", f"It broke off: {_said(error)}.") from None

    async def aclose(self) -> None:
        await self.response.aclose()


class Wire:
    """Asks servers; slow to make, as it reads the trusted certificates."""

    def __init__(self) -> None:
        # Connections are never kept: the pool tells them apart by address, not certified name.
        alone = httpx2.Limits(max_keepalive_connections=0)
        verify = httpx2.create_ssl_context(trust_env=False)
        self._transport = httpx2.AsyncHTTPTransport(verify, trust_env=False, limits=alone)

    async def ask(self, target: Target, address: str) -> Reply:
        """The reply of the server at a checked address, asked under the target's own name.

        Raises:
            NotConnected: when there is no connection to this address.
            Refused: when what it answers is not HTTP.
        """
        try:
            response = await self._transport.handle_async_request(_request(target, address))
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise NotConnected(_said(error)) from None
        except httpx2.TransportError as error:
            reason = f"{target.authority} does not answer as it should: {_said(error)}."
            raise Refused("fetch.network", reason) from None
        return Reply(response.status_code, response.headers, response)

    async def aclose(self) -> None:
        await self._transport.aclose()


async def ask_engine(url: str, bytes_max: int) -> tuple[int, bytes]:
    """Status and body of what a search engine of the administrator's answers; no redirects.

    Raises:
        NotConnected: when it does not answer, or with more than `bytes_max` bytes.
    """
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
    body = bytearray()
    try:
        async with (
            httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=None) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > bytes_max:
                    raise NotConnected(f"its answer is over {bytes_max} bytes")
            return response.status_code, bytes(body)
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise NotConnected(_said(error)) from None


def _request(target: Target, address: str) -> httpx2.Request:
    return httpx2.Request(
        "GET",
        f"{target.scheme}://{authority(address, target.port)}{target.path}",
        headers={
            "Host": target.authority,
            "User-Agent": AGENT,
            "Accept-Encoding": "gzip, deflate",
            "Connection": "close",
        },
        extensions={"sni_hostname": target.host, "timeout": _FOREVER},
    )


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
