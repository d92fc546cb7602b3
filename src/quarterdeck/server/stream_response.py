"""The HTTP answer that follows a stream: framing, keep-alive, and an end in every case (STR-4)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from traceback import format_exception
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from quarterdeck.llm import chunks
from quarterdeck.llm.chunks import Chunk
from quarterdeck.server import lines
from quarterdeck.server.streams import Rested, Streams, Writer
from quarterdeck.storage.chunks import Key

IDLE_S = 15.0
BROKEN = "The stream broke off on the server; ask for it again."


class Telling(Protocol):
    """How chunks reach a client: `head` first, `idle` when nothing comes, `tail` last."""

    headers: Mapping[str, str]
    head: bytes
    idle: bytes
    tail: bytes

    def told(self, body: bytes) -> bytes:
        """The bytes for frames of the stored stream."""
        ...


class Events:
    """Server-sent events, as the AI SDK reads them: the stored bytes as they are."""

    headers: Mapping[str, str] = chunks.HEADERS
    head = chunks.OPENED
    idle = chunks.KEEP_ALIVE
    tail = chunks.DONE

    def told(self, body: bytes) -> bytes:
        """The frames themselves."""
        return body


class OlderLines:
    """The older line protocol."""

    headers: Mapping[str, str] = lines.HEADERS
    head = b""
    idle = lines.KEEP_ALIVE
    tail = b""

    def __init__(self, mission: str) -> None:
        self._lines = lines.Lines(mission)

    def told(self, body: bytes) -> bytes:
        """The lines that the frames complete."""
        return self._lines.add(chunks.chunks(body))


class StreamResponse(Response):
    """Follows a mission's stream from a place until its end, its rest, or the client's leave.

    The client always reads a `finish`: the stored one, or one that says why there is no more.
    What went wrong on the server is reported there and never told.
    """

    def __init__(
        self,
        streams: Streams,
        key: Key,
        telling: Telling,
        *,
        after: int = 0,
        preface: tuple[Chunk, ...] = (),
        rested: Rested | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(telling.headers)
        self._streams = streams
        self._key = key
        self._telling = telling
        self._after = after
        self._preface = preface
        self._rested = rested

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._streams.attached(self._key) as writer:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(_gone(receive))
                pump = group.create_task(self._pump(send, writer))
                watch.add_done_callback(lambda _: pump.cancel())
                pump.add_done_callback(lambda _: watch.cancel())

    async def _pump(self, send: Send, writer: Writer) -> None:
        telling, seq, broken = self._telling, self._after, False
        pulse = _Pulse(telling.idle, send)
        await pulse.send(telling.head + telling.told(chunks.joined(self._preface)))
        try:
            blocks = self._streams.follow(writer, after=seq, rested=self._rested)
            async with aclosing(blocks), pulse:
                async for block in blocks:
                    seq = block.seq
                    await pulse.send(telling.told(block.body))
        except Exception as error:  # noqa: BLE001 - the client is owed an end, and no exception's text
            self._streams.report(f"stream of {self._key[1]}: {''.join(format_exception(error))}")
            broken = True
        last = telling.told(chunks.joined(self._ending(writer, seq, broken=broken)))
        await send({"type": "http.response.body", "body": last + telling.tail})

    def _ending(self, writer: Writer, seq: int, *, broken: bool) -> list[Chunk]:
        if broken:
            return [chunks.error(BROKEN), chunks.finish("error")]
        if writer.stream.ended and seq >= writer.stream.last_seq:
            return []
        if self._streams.closing:
            return [chunks.finish("interrupted")]
        return [chunks.finish("tool-calls", {"seq": seq})]


class _Pulse:
    """Sends parts, and a sign of life when there was none for `IDLE_S`; one timer, not one a part."""

    def __init__(self, sign: bytes, send: Send) -> None:
        self._sign = sign
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._sent_s = self._loop.time()
        self._sending = False
        self._alarm: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._alarm = self._loop.call_later(IDLE_S, self._beat)

    async def __aexit__(self, *_: object) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def send(self, part: bytes) -> None:
        """Send bytes of the answer."""
        self._sending = True
        await self._send({"type": "http.response.body", "body": part, "more_body": True})
        self._sending = False
        self._sent_s = self._loop.time()

    def _beat(self) -> None:
        due_s = self._sent_s + IDLE_S
        now_s = self._loop.time()
        # While a part is on its way to a slow client, another must not be sent beside it.
        if now_s >= due_s and not self._sending:
            self._task = self._loop.create_task(self.send(self._sign))
            due_s = now_s + IDLE_S
        self._alarm = self._loop.call_at(max(due_s, now_s + 0.001), self._beat)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
