"""Finding local model servers among dead, slow, broken and lying ones."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from quarterdeck.llm.discovery import discover
from quarterdeck.llm.port import ModelRef
from quarterdeck.llm.providers.settings import ProviderSettings
from quarterdeck.llm.scripted import ScriptedServer

pytestmark = pytest.mark.req("ORC-3")

MODELS = ["qwen2.5-coder:7b", "qwen2.5-coder:1.5b", "nomic-embed-text", "gpt-oss:120b-cloud"]


@pytest.fixture
async def odd_server() -> AsyncIterator[str]:
    """Answers everything with whatever the path says: /slow, /html, /huge, /gzip, /text, /wrong."""
    release = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).decode().partition(" ")[2].partition(" ")[0]
        body = {
            "/html": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<htm>",
            "/list": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
            "/wrong": b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"a": []}',
            "/text": b"220 mail.example.com ESMTP\r\n",
            "/gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
            "/no": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            "/move": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
            "/huge": b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * (5 * 1024 * 1024),
        }.get("/" + path.split("/")[1])
        if body is None:
            await release.wait()
        else:
            writer.write(body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    release.set()
    server.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_the_models_of_running_servers_are_found():
    async with ScriptedServer(models=MODELS) as server:
        found = await discover(
            [
                ProviderSettings("ollama", "ollama", base_url=server.url),
                ProviderSettings("vllm", "openai_compatible", base_url=server.url + "/v1"),
            ]
        )
    assert [(s.name, s.healthy, s.reason, s.models) for s in found.servers] == [
        ("ollama", True, None, 4),
        ("vllm", True, None, 4),
    ]
    assert found.servers[0].version == "0.0.0-scripted"
    assert all(server.scripted for server in found.servers)
    assert [model.ref.name for model in found.models[:4]] == MODELS
    assert [model.local for model in found.models[:4]] == [True, True, True, False]


async def test_a_mentor_is_found_by_its_name_with_or_without_tag():
    async with ScriptedServer(models=MODELS) as server:
        found = await discover([ProviderSettings("ollama", "ollama", base_url=server.url)])
    assert len(found.named("qwen2.5-coder")) == 2
    (one,) = found.named("qwen2.5-coder:7b")
    assert one.ref == ModelRef("ollama", "qwen2.5-coder:7b")
    assert found.named("nomic-embed-text") == []
    assert found.named("gpt-oss") == []
    assert found.named("mistral") == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/slow", "did not answer within 0.4 s"),
        ("/html", "does not answer like a model server"),
        ("/list", "does not answer like a model server"),
        ("/wrong", "has no 'data'"),
        ("/text", "does not speak HTTP properly"),
        ("/gzip", "compressed"),
        ("/no", "status 401"),
        ("/move", "status 302"),
        ("/huge", "over 4194304 bytes"),
    ],
)
async def test_a_broken_server_is_reported_and_hides_no_other(odd_server, path, reason):
    async with ScriptedServer(models=MODELS[:1]) as server:
        found = await discover(
            [
                ProviderSettings("odd", "openai_compatible", base_url=odd_server + path),
                ProviderSettings("good", "openai_compatible", base_url=server.url),
            ],
            timeout_s=0.4,
        )
    odd, good = found.servers
    assert not odd.healthy
    assert reason in odd.reason
    assert good.healthy
    assert [str(model.ref) for model in found.models] == ["good/qwen2.5-coder:7b"]


async def test_many_dead_and_slow_servers_take_no_longer_than_one(odd_server):
    dead = f"http://127.0.0.1:{_free_port()}"
    settings = [ProviderSettings(f"dead{i}", "ollama", base_url=dead) for i in range(8)]
    settings += [
        ProviderSettings(f"slow{i}", "ollama", base_url=odd_server + "/slow") for i in range(8)
    ]
    await discover([])
    began_s = time.monotonic()
    found = await discover(settings, timeout_s=0.5)
    assert time.monotonic() - began_s < 0.5 * 8, "one after the other would take this long"
    assert found.models == ()
    reasons = {report.reason for report in found.servers}
    assert reasons == {"Nothing listens there.", "It did not answer within 0.5 s."}


async def test_a_cloud_is_not_asked():
    found = await discover(
        [
            ProviderSettings("google", "google", api_key="k"),
            ProviderSettings("gate", "openai_compatible", base_url="https://models.example.com"),
        ]
    )
    assert [report.reason for report in found.servers] == [
        "It is in the cloud and was not asked."
    ] * 2


async def test_a_key_is_sent_to_a_server_that_wants_one():
    async with ScriptedServer(models=MODELS) as server:
        settings = ProviderSettings(
            "vllm", "openai_compatible", base_url=server.url, api_key="secret-1"
        )
        await discover([settings])
        assert server.received[0].headers["authorization"] == "Bearer secret-1"
    assert "secret-1" not in repr(settings)
