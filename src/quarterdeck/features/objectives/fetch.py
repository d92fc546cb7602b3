"""Fetches one page within a scope: every hop checked, connected to the address that was checked.

No cookies, no proxies, no credentials, no second look-up of a name, a new connection each time.
"""

from __future__ import annotations

import asyncio
import codecs
import importlib
import re
import zlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Self

from quarterdeck.core.errors import InvalidInput
from quarterdeck.features.objectives.addresses import Endpoint, refusal
from quarterdeck.features.objectives.budget import Meter
from quarterdeck.features.objectives.miss import BUDGET, Miss, NotConnected, Refused
from quarterdeck.features.objectives.resolve import Resolver
from quarterdeck.features.objectives.scope import Scope, Target, parse_url

if TYPE_CHECKING:
    from quarterdeck.features.objectives.wire import Reply, Wire

PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/plain"})
SITEMAP_TYPES = frozenset({"application/xml", "text/xml", "text/plain", "application/x-gzip"})
ROBOTS_TYPES = frozenset({"text/plain", "text/html"})
JSON_TYPES = frozenset({"application/json"})
HOPS_MAX = 5
ADDRESSES_TRIED_MAX = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHARSETS = re.compile(
    r"ascii|utf-8|utf-16(-[lb]e)?|iso8859-\d+|cp125\d|koi8-[ru]|shift_jis|euc_.*|gb.*|big5"
)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset=[\"']?([A-Za-z0-9_-]{1,40})", re.IGNORECASE)
_META_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Page:
    """What was fetched: `target` is where the redirects ended, `text` the decoded body."""

    target: Target
    media_type: str
    text: str
    hops: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one page: bytes of its body before and after decompression, and seconds."""

    page_bytes: int = 2 * 1024 * 1024
    page_s: float = 15.0


class Fetcher:
    """Fetches for one mission, within its scope and budget; `async with` closes it."""

    def __init__(
        self,
        scope: Scope,
        meter: Meter,
        *,
        resolve: Resolver,
        internal: Collection[Endpoint] = (),
        limits: Limits | None = None,
    ) -> None:
        self.scope = scope
        self.meter = meter
        self._resolve = resolve
        self._internal = internal
        self._limits = limits or Limits()
        self._addresses: dict[tuple[str, int], Sequence[str]] = {}
        self._wire: Wire | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._wire is not None:
            await self._wire.aclose()

    async def get(self, target: Target, types: Collection[str] = PAGE_TYPES) -> Page | Miss:
        """The page at a target, or why there is none; raises nothing that a server can cause."""
        used_up = self.meter.exhausted()
        if used_up is not None:
            return Miss(target.url, BUDGET, f"The budget of {used_up} is used up.")
        limit_s = min(self._limits.page_s, self.meter.left_s)
        try:
            async with asyncio.timeout(limit_s):
                return await self._follow(target, types)
        except TimeoutError:
            return Miss(target.url, "fetch.time", f"It took longer than {limit_s:.3g} s.")
        except Refused as refused:
            return Miss(target.url, refused.rule, refused.reason, refused.status)

    async def check(self, target: Target) -> Miss | None:
        """Why a target may not be fetched, found out without connecting to it; None when it may."""
        try:
            async with asyncio.timeout(self._limits.page_s):
                await self._permitted(target)
        except TimeoutError:
            return Miss(target.url, "address.unresolved", "Its name was not resolved in time.")
        except Refused as refused:
            return Miss(target.url, refused.rule, refused.reason)
        return None

    async def _follow(self, target: Target, types: Collection[str]) -> Page:
        here = target
        for hops in range(HOPS_MAX + 1):
            addresses = await self._permitted(here)
            reply = await self._ask(here, addresses)
            try:
                if reply.status not in _REDIRECTS:
                    return await self._page(here, reply, types, hops)
                here = _next(here, reply.headers.get("location", ""))
            finally:
                await reply.aclose()
        raise Refused("fetch.redirects", f"It redirects more than {HOPS_MAX} times.")

    async def _permitted(self, target: Target) -> Sequence[str]:
        """The addresses of a target in scope, each of which may be connected to."""
        if self.scope.domain_of(target) is None:
            raise Refused("scope.domain", f"{target.authority} is not an allowed domain.")
        place = (target.host, target.port)
        if place not in self._addresses:
            try:
                self._addresses[place] = list(await self._resolve(*place))
            except OSError as error:
                raise Refused("address.unresolved", f"{target.host}: {error}.") from None
        reason = refusal(self._addresses[place], target.port, self._internal)
        if reason is not None:
            raise Refused("address.forbidden", f"{target.host} may not be reached: {reason}.")
        return self._addresses[place]

    async def _ask(self, target: Target, addresses: Sequence[str]) -> Reply:
        wire, failed = await self._opened(), ""
        for address in addresses[:ADDRESSES_TRIED_MAX]:
            used_up = self.meter.exhausted()
            if used_up is not None:
                raise Refused(BUDGET, f"The budget of {used_up} is used up.")
            self.meter.requests += 1
            try:
                return await wire.ask(target, address)
            except NotConnected as error:
                failed = str(error)
        raise Refused("fetch.network", f"{target.authority} does not answer: {failed}.")

    async def _opened(self) -> Wire:
        if self._wire is None:
            await asyncio.to_thread(importlib.import_module, "quarterdeck.features.objectives.wire")
            from quarterdeck.features.objectives.wire import Wire  # noqa: PLC0415 - slow to import

            made = await asyncio.to_thread(Wire)
            self._wire = self._wire or made
        return self._wire

    async def _page(self, target: Target, reply: Reply, types: Collection[str], hops: int) -> Page:
        if reply.status != HTTPStatus.OK:
            raise Refused("fetch.status", f"The server answered {reply.status}.", reply.status)
        media_type, charset = _content_type(reply.headers.get("content-type", ""))
        if media_type not in types:
            said = f"It is {media_type or 'of no stated type'}."
            raise Refused("fetch.type", said, reply.status)
        body = await self._body(reply)
        return Page(target, media_type, _decoded(body, charset), hops)

    async def _body(self, reply: Reply) -> bytes:
        coding = reply.headers.get("content-encoding", "identity").strip().lower()
        if coding not in {"identity", "", "gzip", "x-gzip", "deflate"}:
            raise Refused("fetch.encoding", f"It is encoded as {coding[:40]!r}.")
        unzip = None if coding in {"identity", ""} else zlib.decompressobj(wbits=47)
        room = self._limits.page_bytes
        parts: list[bytes] = []
        try:
            async for chunk in self._chunks(reply):
                part = chunk if unzip is None else unzip.decompress(chunk, room + 1)
                room -= len(part)
                if room < 0:
                    raise Refused("fetch.size", f"It is over {self._limits.page_bytes} bytes.")
                parts.append(part)
        except zlib.error:
            raise Refused("fetch.encoding", f"It is not {coding} as it says.") from None
        return b"".join(parts)

    async def _chunks(self, reply: Reply) -> AsyncIterator[bytes]:
        size_bytes = 0
        async for chunk in reply.chunks():
            size_bytes += len(chunk)
            self.meter.size_bytes += len(chunk)
            if size_bytes > self._limits.page_bytes:
                raise Refused("fetch.size", f"It is over {self._limits.page_bytes} bytes.")
            if not self.meter.left_bytes:
                raise Refused(BUDGET, "The budget of bytes is used up.")
            yield chunk


def _next(here: Target, location: str) -> Target:
    try:
        there = parse_url(location, base=here)
    except InvalidInput as error:
        raise Refused("scope.url", f"It redirects astray: {error.message}") from None
    if here.scheme == "https" and there.scheme == "http":
        raise Refused("fetch.downgrade", f"It redirects from https to {there.origin}.")
    return there


def _content_type(value: str) -> tuple[str, str | None]:
    media_type, _, parameters = value.partition(";")
    found = re.search(r"charset=[\"']?([A-Za-z0-9_.:-]{1,40})", parameters, re.IGNORECASE)
    return media_type.strip().lower(), found[1] if found else None


def _decoded(body: bytes, charset: str | None) -> str:
    """The body as text; a charset that is none, or not one of texts, counts as UTF-8."""
    if charset is None:
        meta = _META_CHARSET.search(body[:_META_BYTES])
        charset = meta[1].decode("ascii") if meta else "utf-8"
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        name = "utf-8"
    known = name if _CHARSETS.fullmatch(name) else "utf-8"
    return body.decode(known, errors="replace").removeprefix("\ufeff")
