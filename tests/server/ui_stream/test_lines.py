"""The older line protocol, played by a client that knows nothing else."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from quarterdeck.llm import chunks
from quarterdeck.server.lines import Lines, wants_lines
from tests.server.ui_stream.building import TOKEN, ask, house, kind, recipe, speak

pytestmark = pytest.mark.req("STR-5")


class OldClient:
    """As such clients were written: raw lines, three prefixes, nothing of the new protocol."""

    def __init__(self) -> None:
        self.logs: list[str] = []
        self.result: dict | None = None
        self.error: str | None = None

    async def ask(self, url: str, prompt: str, **more: str) -> None:
        where = urlsplit(url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        body = json.dumps({"prompt": prompt, **more}).encode()
        writer.write(
            f"POST /api/stream HTTP/1.0\r\nHost: {where.netloc}\r\nAccept: text/plain\r\n"
            f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        assert b" 200 " in await reader.readline()
        while (await reader.readline()).strip():
            pass
        async for line in reader:
            self.read(line.decode().rstrip("\n"))
        writer.close()

    def read(self, line: str) -> None:
        assert self.result is None, "nothing follows a result"
        assert self.error is None, "nothing follows an error"
        prefix, _, rest = line.partition(": ")
        if prefix == "LOG":
            self.logs.append(rest)
        elif prefix == "RESULT":
            self.result = json.loads(rest)
        elif prefix == "ERROR":
            self.error = rest
        else:
            raise AssertionError(f"no line of this protocol: {line!r}")


async def _leak(context):
    context.stream(chunks.text_delta("t", "one\ntwo"))
    raise ConnectionError("postgres://admin:hunter2@db")


KINDS = [kind("speak", speak), kind("ask", ask), kind("leak", _leak)]
RECIPES = [
    recipe("solve", {"id": "speak"}),
    recipe("asking", {"id": "ask"}),
    recipe("leaking", {"id": "leak"}),
]


async def test_an_old_client_reads_logs_and_one_result(tmp_path):
    async with house(tmp_path, RECIPES, KINDS) as built:
        client = OldClient()
        await client.ask(built.url, "Say hello.")
        assert client.error is None
        assert client.result is not None
        assert client.result["status"] == "done"
        assert "Hello, world" in client.logs
        assert "speak: Said it." in client.logs
        assert "speak: done" in client.logs


async def test_an_old_client_reads_one_error_without_the_exceptions_words(tmp_path):
    async with house(tmp_path, RECIPES, KINDS) as built:
        client = OldClient()
        await client.ask(built.url, "Fail.", recipe="leaking")
        assert client.result is None
        assert client.error is not None
        assert "hunter2" not in client.error
        assert client.logs[:1] == ["leak: running"]
        assert {"one", "two"} <= set(client.logs)


async def test_a_mission_that_waits_is_a_result_that_says_so(tmp_path):
    async with house(tmp_path, RECIPES, KINDS) as built:
        client = OldClient()
        await client.ask(built.url, "Ask me.", recipe="asking")
        assert client.result is not None
        assert client.result["status"] == "waiting"
        assert "approval: Go on?" in client.logs


def test_text_comes_by_whole_lines_and_the_rest_at_its_end():
    lines = Lines("m")
    assert lines.add([chunks.text_delta("t", "one\ntw")]) == b"LOG: one\n"
    assert lines.add([chunks.text_delta("t", "o")]) == b""
    assert lines.add([chunks.text_end("t")]) == b"LOG: two\n"


def test_an_endless_line_is_cut():
    said = Lines("m").add([chunks.text_delta("t", "x" * 9_000)])
    assert said == b"LOG: " + b"x" * 9_000 + b"\n"


def test_an_interrupted_stream_is_an_error():
    said = Lines("m").add([chunks.finish("interrupted")])
    assert said.startswith(b"ERROR: The server stopped")


def test_there_is_one_last_line():
    lines = Lines("m")
    assert lines.add([chunks.error("No."), chunks.finish("error")]) == b"ERROR: No.\n"
    assert lines.add([chunks.finish("stop")]) == b""


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/plain", True),
        ("Text/Plain; charset=utf-8, */*;q=0.1", True),
        ("", False),
        ("*/*", False),
        ("text/event-stream", False),
        ("text/event-stream, text/plain", False),
    ],
)
def test_lines_are_for_those_who_ask_for_them(accept: str, expected: bool):
    assert wants_lines(accept) is expected
