"""Small web sites on a loopback port: several hosts by the `Host` header, each answer as written."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

TLS_HANDSHAKE = b"\x16"
"""What a client that wants https begins with; these sites speak http alone."""


@dataclass
class Answer:
    """What a path answers; `pause_s` lies between the pieces of the body."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/html"})
    pause_s: float = 0.0

    def pieces(self) -> list[bytes]:
        return [self.body] if not self.pause_s else [self.body[n : n + 1] for n in range(9)]


def page(title: str, *paragraphs: str, links: Mapping[str, str] | None = None) -> Answer:
    """A page with paragraphs and links (href → words)."""
    anchors = "".join(f'<a href="{href}">{words}</a>' for href, words in (links or {}).items())
    text = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    html = f"<html><head><title>{title}</title></head><body>{text}{anchors}</body></html>"
    return Answer(html.encode())


def text(content: str, media_type: str = "text/plain", status: int = 200) -> Answer:
    return Answer(content.encode(), status, {"Content-Type": media_type})


def redirect(location: str, status: int = 302) -> Answer:
    return Answer(b"", status, {"Location": location})


def squeezed(size_bytes: int) -> Answer:
    """A small body that grows to `size_bytes`."""
    body = gzip.compress(b" " * size_bytes)
    return Answer(body, 200, {"Content-Type": "text/html", "Content-Encoding": "gzip"})


@dataclass
class Sites:
    """Host → path → answer; `asked` is every request as (host, path, headers in lower case)."""

    hosts: dict[str, dict[str, Answer]]
    port: int = 0
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def paths(self, host: str) -> list[str]:
        """What was asked of one host, in order."""
        return [path for name, path, _ in self.asked if name == host]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(1)
            if first == TLS_HANDSHAKE:
                return
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split(" ")[1]
            headers = {
                name.lower(): value.strip()
                for name, _, value in (h.partition(":") for h in head[1:])
            }
            host = headers.get("host", "").partition(":")[0]
            self.asked.append((host, path, headers))
            given = self.hosts.get(host, {}).get(
                path.partition("?")[0], text("nothing", status=404)
            )
            lines = [
                f"HTTP/1.1 {given.status} Said",
                *(f"{k}: {v}" for k, v in given.headers.items()),
            ]
            writer.write(("\r\n".join([*lines, "Connection: close", "", ""])).encode())
            for piece in given.pieces():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(given.pause_s)
        except (ConnectionError, asyncio.IncompleteReadError, IndexError):
            return  # whoever asked went away
        finally:
            writer.close()


@asynccontextmanager
async def served(hosts: dict[str, dict[str, Answer]]) -> AsyncIterator[Sites]:
    """The sites on a port of their own until the test is over."""
    sites = Sites(hosts)
    server = await asyncio.start_server(sites.answer, "127.0.0.1", 0)
    sites.port = server.sockets[0].getsockname()[1]
    try:
        yield sites
    finally:
        server.close()
        await server.wait_closed()


def resolver(**addresses: str):
    """A resolver of test names: `a_test="127.0.0.1"` for a.test; all others under .test are loopback."""
    told = {name.replace("_", "."): address for name, address in addresses.items()}

    async def resolve(host: str, port: int) -> list[str]:
        if host in told:
            return told[host].split()
        if host.endswith(".test"):
            return ["127.0.0.1"]
        if host.replace(".", "").isdigit() or ":" in host:
            return [host]
        raise OSError("no such name")

    return resolve
