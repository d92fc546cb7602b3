"""`quarterdeck serve`: the API and the engine in one process, on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import orjson
import uvicorn
from fastapi import FastAPI
from rich.markup import escape

from quarterdeck.cli.connection import ADDRESS_FILE
from quarterdeck.cli.output import print_json, say
from quarterdeck.core.errors import Unavailable
from quarterdeck.settings import Settings
from quarterdeck.storage.artifacts import write_durably

STOP_S = 10


async def serve(settings: Settings, *, as_json: bool) -> None:
    """Start every part, say where it listens, and serve until a signal says stop."""
    from quarterdeck.app import Orchestrator

    listener = _listen(settings.host, settings.port)
    orchestrator = Orchestrator(settings)
    found = await orchestrator.activate()
    port = listener.getsockname()[1]
    url = f"http://{settings.host}:{port}"
    address = settings.data_dir / ADDRESS_FILE
    write_durably(address, orjson.dumps({"url": url, "pid": os.getpid()}))
    try:
        _say_started(url, orchestrator.token, found, as_json=as_json)
        await _serve(orchestrator.asgi(), listener)
    finally:
        address.unlink(missing_ok=True)
        await orchestrator.close()


async def _serve(app: FastAPI, listener: socket.socket) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
        )
    )
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, setattr, server, "should_exit", True)
    await server.serve(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
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
