"""`quarterdeck serve`: the API and the engine in one process, on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable

import orjson
import uvicorn
from fastapi import FastAPI
from rich.markup import escape

from quarterdeck.cli.connection import ADDRESS_FILE, running_server
from quarterdeck.cli.output import print_json, say
from quarterdeck.core.errors import Conflict, Unavailable
from quarterdeck.engine.collector import calm_collector
from quarterdeck.server import live_uvicorn
from quarterdeck.settings import Settings
from quarterdeck.storage.artifacts import write_durably

BACKLOG = 2048
STOP_S = 3
"""How long open requests may take to end; what a mission does then is resumed at the next start."""


async def serve(settings: Settings, *, as_json: bool) -> None:
    """Start every part, say where it listens, and serve until a signal says stop.

    Raises:
        Conflict: another process has the data directory; names it.
        Unavailable: the port is taken, or the directory or database cannot be used.
    """
    stop = _Stop()
    from quarterdeck.app import Orchestrator

    listener = _listen(settings)
    orchestrator = Orchestrator(settings)
    try:
        found = await orchestrator.activate()
    except BaseException:
        listener.close()
        raise
    stop.first = orchestrator.streams.interrupt
    url = f"http://{_host_in_url(settings.host)}:{listener.getsockname()[1]}"
    address = settings.data_dir / ADDRESS_FILE
    try:
        # Whoever reads the address may knock at once; the server answers as soon as it is up.
        listener.listen(BACKLOG)
        write_durably(address, orjson.dumps({"url": url, "pid": os.getpid()}))
        server = stop.server = _server(orchestrator.asgi())
        calm_collector()
        _say_started(url, orchestrator.token, found, as_json=as_json)
        if not stop.wanted:
            await server.serve(sockets=[listener])
    finally:
        address.unlink(missing_ok=True)
        listener.close()
        await orchestrator.close()


class _Stop:
    """Remembers a signal that says stop, also one that comes before there is a server."""

    def __init__(self) -> None:
        self.wanted = False
        self.server: uvicorn.Server | None = None
        self.first: Callable[[], None] | None = None
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self._stop)

    def _stop(self) -> None:
        self.wanted = True
        if self.first is not None:
            self.first()
        if self.server is not None:
            self.server.should_exit = True


def _server(app: FastAPI) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
            **live_uvicorn.SETTINGS,
        )
    )


def _host_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay off only for sockets that say they are TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if (other := running_server(settings.data_dir)) is not None:
            raise Conflict(
                f"A server (process {other.pid}) already serves this data directory.",
                where=other.url,
                hint="Use that one, or stop it first.",
            ) from None
        raise Unavailable(
            f"The port cannot be listened on: {error.strerror}.",
            where=f"{host}:{port}",
            hint="Choose another with --port, or 0 for a free one.",
        ) from None
    return listener


def _say_started(url: str, token: str, found: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json({"url": url, "token": token, **found})
        return
    say(f"Quarterdeck {found['version']} listens on [bold]{url}[/]")
    say(f"Token: [bold]{escape(token)}[/]")
    say(f"Data:  {escape(str(found['data']))}")
    say(f"Taken up again: {found['resumed']} missions")
