"""The way to the API: a running server, else the product itself inside this process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import typer

from quarterdeck.cli.output import INTERRUPTED, messages
from quarterdeck.core import errors
from quarterdeck.core.errors import QuarterdeckError, Unavailable

if TYPE_CHECKING:
    import httpx2

    from quarterdeck.app import Orchestrator
    from quarterdeck.settings import Settings

Result = TypeVar("Result")

ADDRESS_FILE = "server.json"
LOG_FILE = "quarterdeck.log"
TIMEOUT_S = 90.0
_KNOCK_S = 5.0


@dataclass(frozen=True, slots=True)
class Api:
    """A connection to the API of a server, or of the product in this very process."""

    client: httpx2.AsyncClient
    orchestrator: Orchestrator | None = None
    log: Path | None = None

    @property
    def inside(self) -> bool:
        """Whether missions go on only as long as this process does."""
        return self.orchestrator is not None

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The JSON of a GET; raises the server's error as one of ours."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._answer(await self._sent(self.client.get(path, params=given)))

    async def post(
        self, path: str, body: Mapping[str, Any] | None = None, **params: Any
    ) -> dict[str, Any]:
        """The JSON of a POST; raises the server's error as one of ours."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._answer(
            await self._sent(self.client.post(path, json=dict(body or {}), params=given))
        )

    async def bytes(self, path: str) -> bytes:
        """The bytes of a GET."""
        response = await self._sent(self.client.get(path))
        if response.status_code >= 400:
            self._answer(response)
        return response.content

    def _answer(self, response: httpx2.Response) -> dict[str, Any]:
        try:
            found: Any = response.json()
        except ValueError:
            found = {"detail": f"The server answered {response.status_code} and no JSON."}
        if response.status_code < 400:
            return found
        kind = _KINDS.get(str(found.get("type", "")).rsplit(":", 1)[-1], QuarterdeckError)
        hint = found.get("hint")
        if response.status_code >= 500 and self.log is not None:
            hint = f"What happened is in {self.log}"
        raise kind(str(found.get("detail")), where=found.get("where"), hint=hint)

    async def _sent(self, call: Awaitable[httpx2.Response]) -> httpx2.Response:
        import httpx2

        try:
            return await call
        except httpx2.HTTPError as error:
            raise Unavailable(
                f"The server does not answer: {error}.",
                where=str(self.client.base_url),
                hint="Look at its log, or start it with: quarterdeck serve.",
            ) from None


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
    server = running_server(settings.data_dir)
    if server is not None:
        token = (settings.data_dir / "token").read_text("ascii").strip()
        async with _client(server.url, token) as client:
            if await _opens(client):
                yield Api(client)
                return
    async with _started_here(settings) as api:
        yield api


@asynccontextmanager
async def _started_here(settings: Settings) -> AsyncIterator[Api]:
    import httpx2

    from quarterdeck.app import Orchestrator

    log = settings.data_dir / LOG_FILE

    def note(line: str) -> None:
        # In a file, as a server's own log would be: a person is told in a sentence instead.
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    orchestrator = Orchestrator(settings, report=note)
    await orchestrator.activate()
    try:
        # As over a socket: a failure is an answer.
        transport = httpx2.ASGITransport(orchestrator.asgi(), raise_app_exceptions=False)
        async with _client("http://127.0.0.1", orchestrator.token, transport) as client:
            yield Api(client, orchestrator, log)
    finally:
        await orchestrator.close()


def _client(
    address: str, token: str, transport: httpx2.AsyncBaseTransport | None = None
) -> httpx2.AsyncClient:
    import httpx2

    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.AsyncClient(
        base_url=address, headers=headers, timeout=TIMEOUT_S, transport=transport, trust_env=False
    )


async def _opens(client: httpx2.AsyncClient) -> bool:
    """Whether something listens there: a killed server leaves its address behind."""
    import httpx2

    try:
        await client.get("/api/health", timeout=_KNOCK_S)
    except httpx2.ConnectError:
        return False
    except httpx2.HTTPError:
        return True
    return True


@dataclass(frozen=True, slots=True)
class Server:
    """A server that seems to run: its address and its process."""

    url: str
    pid: int


def running_server(data_dir: Path) -> Server | None:
    """The server that has this data directory, or None; a killed one may leave its address."""
    try:
        found = orjson.loads((data_dir / ADDRESS_FILE).read_bytes())
        server = Server(str(found["url"]), int(found["pid"]))
        os.kill(server.pid, 0)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return server


def starting(*, quiet: bool) -> AbstractContextManager[object]:
    """A sign on the terminal that something is being waited for."""
    shown = messages.is_terminal and not quiet
    return messages.status("Starting") if shown else nullcontext()


def run(work: Callable[[Api], Awaitable[Result]], data: Path | None, *, as_json: bool) -> Result:
    """Connect and do the work; Ctrl-C says how to go on."""
    import asyncio

    from quarterdeck.settings import load_settings

    async def connected() -> Result:
        async with AsyncExitStack() as stack:
            with starting(quiet=as_json):
                settings = load_settings({"data_dir": data})
                api = await stack.enter_async_context(connect(settings))
            return await work(api)

    try:
        return asyncio.run(connected())
    except KeyboardInterrupt:
        messages.print(
            "\nStopped watching. Missions go on while a server runs, else at its next start."
        )
        raise typer.Exit(INTERRUPTED) from None
