"""Fetches one page within a scope: every hop checked, connected to the address that was checked.

No cookies, no proxies, no credentials, no second look-up of a name, a new connection each time.
"""

from __future__ import annotations

import asyncio
import codecs
import re
import zlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

import httpx2

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.events import Json
from quarterdeck.features.objectives.addresses import Endpoint, refusal
from quarterdeck.features.objectives.budget import Meter
from quarterdeck.features.objectives.resolve import Resolver
from quarterdeck.features.objectives.robots import AGENT
from quarterdeck.features.objectives.scope import Scope, Target, authority, parse_url

PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/plain"})
SITEMAP_TYPES = frozenset({"application/xml", "text/xml", "text/plain", "application/x-gzip"})
ROBOTS_TYPES = frozenset({"text/plain", "text/html"})
JSON_TYPES = frozenset({"application/json"})
BUDGET = "budget"
"""The rule of a miss that more budget would have fetched."""
HOPS_MAX = 5
ADDRESSES_TRIED_MAX = 3
CONNECT_S = 5.0
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
class Miss:
    """What was not fetched, the rule that says so, and why; `status` is the server's, if it spoke."""

    url: str
    rule: str
    reason: str
    status: int | None = None

    def as_json(self) -> dict[str, Json]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one page: bytes of its body before and after decompression, and seconds."""

    page_bytes: int = 2 * 1024 * 1024
    page_s: float = 15.0


class _Refused(Exception):
    """A rule or a limit ended this fetch."""

    def __init__(self, rule: str, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason
        self.status = status


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
        self._transport: httpx2.AsyncHTTPTransport | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._transport is not None:
            await self._transport.aclose()

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
        except _Refused as refused:
            return Miss(target.url, refused.rule, refused.reason, refused.status)

    async def check(self, target: Target) -> Miss | None:
        """Why a target may not be fetched, found out without connecting to it; None when it may."""
        try:
            async with asyncio.timeout(self._limits.page_s):
                await self._permitted(target)
        except TimeoutError:
            return Miss(target.url, "address.unresolved", "Its name was not resolved in time.")
        except _Refused as refused:
            return Miss(target.url, refused.rule, refused.reason)
        return None

    async def _follow(self, target: Target, types: Collection[str]) -> Page:
        here = target
        for hops in range(HOPS_MAX + 1):
            addresses = await self._permitted(here)
            response = await self._request(here, addresses)
            try:
                if response.status_code not in _REDIRECTS:
                    return await self._page(here, response, types, hops)
                here = _next(here, response)
            finally:
                await response.aclose()
        raise _Refused("fetch.redirects", f"It redirects more than {HOPS_MAX} times.")

    async def _permitted(self, target: Target) -> Sequence[str]:
        """The addresses of a target in scope, each of which may be connected to."""
        if self.scope.domain_of(target) is None:
            raise _Refused("scope.domain", f"{target.authority} is not an allowed domain.")
        place = (target.host, target.port)
        if place not in self._addresses:
            try:
                self._addresses[place] = list(await self._resolve(*place))
            except OSError as error:
                raise _Refused("address.unresolved", f"{target.host}: {error}.") from None
        reason = refusal(self._addresses[place], target.port, self._internal)
        if reason is not None:
            raise _Refused("address.forbidden", f"{target.host} may not be reached: {reason}.")
        return self._addresses[place]

    async def _request(self, target: Target, addresses: Sequence[str]) -> httpx2.Response:
        transport, failed = await self._opened(), ""
        for address in addresses[:ADDRESSES_TRIED_MAX]:
            used_up = self.meter.exhausted()
            if used_up is not None:
                raise _Refused(BUDGET, f"The budget of {used_up} is used up.")
            self.meter.requests += 1
            try:
                return await transport.handle_async_request(_request(target, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failed = str(error) or type(error).__name__
            except httpx2.TransportError as error:
                failed = str(error) or type(error).__name__
                break
        raise _Refused("fetch.network", f"{target.authority} does not answer: {failed}.")

    async def _opened(self) -> httpx2.AsyncHTTPTransport:
        """The transport; reading the trusted certificates takes too long for the loop."""
        if self._transport is None:
            verify = await asyncio.to_thread(httpx2.create_ssl_context, trust_env=False)
            # Connections are never kept: the pool tells them apart by address, not certified name.
            alone = httpx2.Limits(max_keepalive_connections=0)
            self._transport = httpx2.AsyncHTTPTransport(verify, trust_env=False, limits=alone)
        return self._transport

    async def _page(
        self, target: Target, response: httpx2.Response, types: Collection[str], hops: int
    ) -> Page:
        status = response.status_code
        if status != httpx2.codes.OK:
            raise _Refused("fetch.status", f"The server answered {status}.", status)
        media_type, charset = _content_type(response.headers.get("content-type", ""))
        if media_type not in types:
            raise _Refused("fetch.type", f"It is {media_type or 'of no stated type'}.", status)
        body = await self._body(response)
        return Page(target, media_type, _decoded(body, charset), hops)

    async def _body(self, response: httpx2.Response) -> bytes:
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if coding not in {"identity", "", "gzip", "x-gzip", "deflate"}:
            raise _Refused("fetch.encoding", f"It is encoded as {coding[:40]!r}.")
        unzip = None if coding in {"identity", ""} else zlib.decompressobj(wbits=47)
        room = self._limits.page_bytes
        parts: list[bytes] = []
        try:
            async for chunk in self._chunks(response):
                part = chunk if unzip is None else unzip.decompress(chunk, room + 1)
                room -= len(part)
                if room < 0:
                    raise _Refused("fetch.size", f"It is over {self._limits.page_bytes} bytes.")
                parts.append(part)
        except zlib.error:
            raise _Refused("fetch.encoding", f"It is not {coding} as it says.") from None
        except httpx2.TransportError as error:
            said = str(error) or type(error).__name__
            raise _Refused("fetch.network", f"It broke off: {said}.") from None
        return b"".join(parts)

    async def _chunks(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        size_bytes = 0
        async for chunk in response.stream:
            size_bytes += len(chunk)
            self.meter.size_bytes += len(chunk)
            if size_bytes > self._limits.page_bytes:
                raise _Refused("fetch.size", f"It is over {self._limits.page_bytes} bytes.")
            if not self.meter.left_bytes:
                raise _Refused(BUDGET, "The budget of bytes is used up.")
            yield chunk


def _request(target: Target, address: str) -> httpx2.Request:
    """The request to a checked address, under the target's own name (also in TLS)."""
    return httpx2.Request(
        "GET",
        f"{target.scheme}://{authority(address, target.port)}{target.path}",
        headers={
            "Host": target.authority,
            "User-Agent": AGENT,
            "Accept-Encoding": "gzip, deflate",
            "Connection": "close",
        },
        extensions={
            "sni_hostname": target.host,
            "timeout": {"connect": CONNECT_S, "read": None, "write": None, "pool": None},
        },
    )


def _next(here: Target, response: httpx2.Response) -> Target:
    location = response.headers.get("location", "")
    try:
        there = parse_url(location, base=here)
    except InvalidInput as error:
        raise _Refused("scope.url", f"It redirects astray: {error.message}") from None
    if here.scheme == "https" and there.scheme == "http":
        raise _Refused("fetch.downgrade", f"It redirects from https to {there.origin}.")
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
