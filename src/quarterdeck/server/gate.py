"""What a request must pass before anything reads it (size, JSON, Host, Origin), and what every
answer carries."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from pydantic_core import from_json
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quarterdeck.core.errors import Denied, InvalidInput, QuarterdeckError, TooLarge
from quarterdeck.server.errors import problem_of

BODY_BYTES_MAX = 2 * 1024 * 1024
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """ASGI middleware; refuses with a problem and never lets the refused request through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        sent = _marked(send) if scope["type"] == "http" else send
        try:
            passed = await _passed(scope, receive)
        except QuarterdeckError as error:
            await _refuse(error, scope, receive, sent)
            return
        await self._app(scope, passed, sent)


def _marked(send: Send) -> Send:
    """Marks every answer as one that caches do not keep and browsers take for no other type."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            # A stream states what its protocol wants; everything else is not to be kept at all.
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Content-Type-Options"] = "nosniff"
        await send(message)

    return marked


async def _passed(scope: Scope, receive: Receive) -> Receive:
    """What the application reads from, once everything is checked; raises QuarterdeckError."""
    headers = Headers(scope=scope)
    if scope["type"] == "websocket":
        # A browser lets any site open a WebSocket to here: its Origin is checked as for a change.
        _check_addresses("WEBSOCKET", headers)
        return receive
    _check_addresses(scope["method"], headers)
    body = await _read(receive, headers)
    _check_json(body, headers)
    return _replay(body, receive)


async def _refuse(error: QuarterdeckError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await problem_of(error)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 4000 + error.status})


def _check_addresses(method: str, headers: Headers) -> None:
    host = _address(f"//{headers.get('host', '')}")
    if host is None or host.hostname not in LOOPBACK_NAMES:
        raise Denied(
            f"This server does not answer for the host {headers.get('host', '')[:100]!r}.",
            where="Host",
            hint="Use http://127.0.0.1 and the port it printed.",
        )
    origin = headers.get("origin")
    if origin is None or method in _SAFE:
        return
    site = _address(origin)
    if site is None or site.netloc != host.netloc:
        raise Denied("Another site may not change anything here.", where="Origin")


def _address(text: str) -> SplitResult | None:
    """The parts of an address; None for what is none, such as a bracket that is never closed."""
    try:
        return urlsplit(text)
    except ValueError:
        return None


async def _read(receive: Receive, headers: Headers) -> bytes:
    stated = headers.get("content-length", "0")
    if stated.isdigit() and int(stated) > BODY_BYTES_MAX:
        raise _too_large()
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise _too_large()
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large() -> TooLarge:
    return TooLarge(f"The body is over the limit of {BODY_BYTES_MAX} bytes.", where="body")


def _check_json(body: bytes, headers: Headers) -> None:
    if not body or "json" not in headers.get("content-type", ""):
        return
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput(f"It is not JSON: {error}.", where="body") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
