"""What the server refuses before it looks at anything, and what every answer carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from quarterdeck.app import Orchestrator
from quarterdeck.server.gate import BODY_BYTES_MAX
from tests.accept.building import installation, over_http

STRANGER = {"Authorization": ""}


@pytest.fixture
async def orchestrator(data_dir: Path) -> AsyncIterator[Orchestrator]:
    async with installation(data_dir) as active:
        yield active


@pytest.fixture
async def client(orchestrator: Orchestrator) -> AsyncIterator[httpx2.AsyncClient]:
    async with over_http(orchestrator) as opened:
        yield opened


def problem(answer: httpx2.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert {"type", "title", "status", "detail"} <= set(found)
    assert found["status"] == status
    return found


async def test_only_the_health_and_the_schema_are_for_strangers(orchestrator, client):
    schema = (await client.get("/api/openapi.json", headers=STRANGER)).json()
    open_paths = {"/api/health"}
    for path, operations in schema["paths"].items():
        for method in operations:
            answer = await client.request(method, path, headers=STRANGER, json={})
            expected = 200 if path in open_paths else 401
            # What a path or a body lacks is said only to those who may ask.
            assert answer.status_code == expected, (method, path, answer.text)


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer wrong", "Basic dXNlcjpwYXNz", "Bearer \u00e9", "token"]
)
async def test_a_wrong_token_opens_nothing(client, header):
    answer = await client.get("/api/status", headers=[(b"Authorization", header.encode("latin-1"))])
    assert "Authorization" in str(problem(answer, 401)["where"])


@pytest.mark.parametrize(
    "host",
    ["example.org", "127.0.0.1.example.org", "", "[::1", "169.254.169.254", "localhost@evil"],
)
async def test_another_host_name_is_refused(client, host):
    # A page elsewhere can have its own name point to this machine (DNS rebinding).
    assert problem(await client.get("/api/health", headers={"Host": host}), 403)["where"] == "Host"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8420", "[::1]:8420"])
async def test_the_loopback_names_are_served(client, host):
    assert (await client.get("/api/health", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 403),
        ("http://127.0.0.1:9999", 403),
        ("null", 403),
        ("http://[::1", 403),
        ("http://127.0.0.1", 422),
    ],
)
async def test_another_site_changes_nothing(client, origin, status):
    answer = await client.post("/api/missions", json={}, headers={"Origin": origin})
    assert problem(answer, status)["detail"]


async def test_a_body_over_the_limit_is_refused_stated_or_not(client):
    async def pieces():
        for _ in range(BODY_BYTES_MAX // 65_536 + 1):
            yield b" " * 65_536

    headers = {"Content-Type": "application/json"}
    problem(await client.post("/api/missions", content=pieces(), headers=headers), 413)
    large = b" " * (BODY_BYTES_MAX + 1)
    problem(await client.post("/api/missions", content=large, headers=headers), 413)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/health", 200),
        ("GET", "/api/missions", 200),
        ("GET", "/api/openapi.json", 200),
        ("GET", "/api/nothing", 404),
        ("GET", "/", 404),
        ("DELETE", "/api/missions", 405),
        ("GET", "/api/missions/..%2f..%2fetc", 404),
        ("GET", "/api/missions/NO", 422),
        ("GET", "/api/docs", 404),
    ],
)
async def test_every_answer_is_marked(client, method, path, status):
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers
    if status >= 400:
        problem(answer, status)


async def test_artifacts_are_downloads_and_only_by_their_hash(client):
    for name in ("0" * 64, "../token", "x", "%2e%2e%2ftoken"):
        answer = await client.get(f"/api/artifacts/{name}")
        assert answer.status_code in {404, 422}
