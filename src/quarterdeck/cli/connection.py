"""The way to the API: a running server, else the product itself inside this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import orjson
import typer

from quarterdeck.cli.output import fail
from quarterdeck.core import errors
from quarterdeck.core.errors import QuarterdeckError, Unavailable
from quarterdeck.settings import Settings, load_settings

Result = TypeVar("Result")

ADDRESS_FILE = "server.json"
TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Api:
    """A connection; `inside` says that the product works in this very process."""

    client: httpx2.AsyncClient
    settings: Settings
    inside: bool

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The JSON of a GET; raises the server's error as one of ours."""
        given = {name: value for name, value in params.items() if value is not None}
        return _answer(await self._sent(self.client.get(path, params=given)))

    async def post(
        self, path: str, body: Mapping[str, Any] | None = None, **params: Any
    ) -> dict[str, Any]:
        """The JSON of a POST; raises the server's error as one of ours."""
        given = {name: value for name, value in params.items() if value is not None}
        return _answer(
            await self._sent(self.client.post(path, json=dict(body or {}), params=given))
        )

    async def bytes(self, path: str) -> bytes:
        """The bytes of a GET."""
        response = await self._sent(self.client.get(path))
        if response.status_code >= 400:
            _answer(response)
        return response.content

    async def _sent(self, call: Awaitable[httpx2.Response]) -> httpx2.Response:
        try:
            return await call
        except httpx2.HTTPError as error:
            raise Unavailable(
                f"The server does not answer: {error}.",
                where=str(self.client.base_url),
                hint="Look at its log, or start it with: quarterdeck serve.",
            ) from None


def _answer(response: httpx2.Response) -> dict[str, Any]:
    found: Any = response.json()
    if response.status_code < 400:
        return found
    kind = _KINDS.get(str(found.get("type", "")).rsplit(":", 1)[-1], QuarterdeckError)
    raise kind(str(found.get("detail")), where=found.get("where"), hint=found.get("hint"))


_KINDS: dict[str, type[QuarterdeckError]] = {
    kind("").code: kind
    for kind in (
        errors.InvalidInput,
        errors.InvalidPlan,
        errors.TooLarge,
        errors.Unauthenticated,
        errors.Denied,
        errors.NotFound,
        errors.Conflict,
        errors.Refused,
        errors.Unavailable,
    )
}


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Api]:
    """The API of the running server, else of the product started inside this process."""
    address = running_server(settings.data_dir)
    if address is not None:
        token = (settings.data_dir / "token").read_text("ascii").strip()
        async with _client(address, token) as client:
            yield Api(client, settings, inside=False)
        return
    from quarterdeck.app import Orchestrator

    orchestrator = Orchestrator(settings)
    await orchestrator.activate()
    try:
        transport = httpx2.ASGITransport(app=orchestrator.asgi())
        async with _client("http://127.0.0.1", orchestrator.token, transport) as client:
            yield Api(client, settings, inside=True)
    finally:
        await orchestrator.close()


def _client(
    address: str, token: str, transport: httpx2.AsyncBaseTransport | None = None
) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.AsyncClient(
        base_url=address, headers=headers, timeout=TIMEOUT_S, transport=transport, trust_env=False
    )


def running_server(data_dir: Path) -> str | None:
    """The address of the server that has this data directory, or None."""
    try:
        found = orjson.loads((data_dir / ADDRESS_FILE).read_bytes())
        os.kill(int(found["pid"]), 0)
    except (OSError, ValueError, KeyError):
        return None
    return str(found["url"])


def run(work: Callable[[Api], Awaitable[Result]], data: Path | None, *, as_json: bool) -> Result:
    """Connect, do the work, and turn errors into a sentence and exit code 1."""

    async def connected() -> Result:
        async with connect(load_settings({"data_dir": data})) as api:
            return await work(api)

    try:
        return asyncio.run(connected())
    except QuarterdeckError as error:
        fail(error, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
