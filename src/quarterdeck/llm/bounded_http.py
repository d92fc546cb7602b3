"""An HTTP client for model servers: no redirects, no compressed bodies, and an end to every body.

Import it inside functions: the HTTP library costs every start 0.15 s otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from quarterdeck.llm.port import ModelFailed

RESPONSE_BYTES_MAX = 8 * 1024 * 1024
CONNECT_S = 5.0


def bounded_client(
    *,
    local: bool,
    response_bytes: int = RESPONSE_BYTES_MAX,
    read_s: float | None = None,
) -> httpx2.AsyncClient:
    """A client whose responses fail with `ModelFailed` beyond `response_bytes`.

    Without `read_s` reading has no time-out: the gateway owns the clock. Proxies of the environment
    are used for the cloud only, as a call to our own machine must not leave it through a proxy.
    """

    async def bound(response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ModelFailed(
                "The server compressed its answer, which was not asked for.", kind="garbage"
            )
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, response_bytes)

    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(read_s, connect=CONNECT_S),
        headers={"accept-encoding": "identity"},
        event_hooks={"response": [bound]},
        follow_redirects=False,
        trust_env=not local,
    )


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends in an error when it is longer than `size_max` bytes."""

    def __init__(self, source: httpx2.AsyncByteStream, size_max: int) -> None:
        self._source = source
        self._size_max = size_max

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size_bytes = 0
        async for chunk in self._source:
            size_bytes += len(chunk)
            if size_bytes > self._size_max:
                raise ModelFailed(f"The answer is over {self._size_max} bytes.", kind="too_large")
            yield chunk

    async def aclose(self) -> None:
        await self._source.aclose()
