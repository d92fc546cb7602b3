"""Nonsense at every door of the published schema: never a 5xx, always a problem document (QLT-3)."""

from __future__ import annotations

import asyncio
import random
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.accept.building import installation, over_http

SEEDS = range(4)
PER_OPERATION = 12
STREAM_S = 1.0
STREAMS = "stream"
"""Their answers go on until the mission rests: here it counts that they begin well."""
TEXTS = (
    "", " ", "a", "m1", "../..", "\x00", "\ud800", "é\u202e", "x" * 5_000, "%00", "NaN", "null",
    "-1", "9" * 400, "1e999", "${jndi}", "'; drop table missions; --", "{{7*7}}", "\r\nSet-Cookie: a",
)  # fmt: skip
NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308)


def anything(dice: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    kind = dice.randrange(7 if depth < 4 else 5)
    if kind == 5:
        return [anything(dice, depth + 1) for _ in range(dice.randrange(4))]
    if kind == 6:
        return {text(dice): anything(dice, depth + 1) for _ in range(dice.randrange(4))}
    return (None, dice.random() < 0.5, dice.choice(NUMBERS), text(dice), text(dice))[kind]


def text(dice: random.Random) -> str:
    if dice.random() < 0.7:
        return dice.choice(TEXTS)
    return "".join(dice.choices(string.printable + "äß😀\x7f", k=dice.randrange(30)))


class Schema:
    """Makes requests that fit the published schema in some places and not in others."""

    def __init__(self, document: dict[str, Any], dice: random.Random) -> None:
        self._document = document
        self._dice = dice

    def value(self, schema: dict[str, Any], depth: int = 0) -> Any:
        dice = self._dice
        if dice.random() < 0.12 or depth > 5:
            return anything(dice)
        if "$ref" in schema:
            return self.value(self._named(schema["$ref"]), depth + 1)
        for choice in ("anyOf", "oneOf", "allOf"):
            if choice in schema:
                return self.value(dice.choice(schema[choice]), depth + 1)
        if "enum" in schema:
            return dice.choice(schema["enum"])
        return self._typed(schema, depth)

    def _typed(self, schema: dict[str, Any], depth: int) -> Any:
        dice = self._dice
        match schema.get("type"):
            case "object":
                fields = schema.get("properties", {})
                needed = set(schema.get("required", ()))
                kept = [n for n in fields if n in needed or dice.random() < 0.4]
                made = {name: self.value(fields[name], depth + 1) for name in kept}
                return made or ({text(dice): anything(dice)} if dice.random() < 0.3 else {})
            case "array":
                items = schema.get("items", {})
                return [self.value(items, depth + 1) for _ in range(dice.randrange(3))]
            case "string":
                return text(dice)
            case "integer" | "number":
                return dice.choice(NUMBERS)
            case "boolean":
                return dice.random() < 0.5
        return anything(dice)

    def _named(self, ref: str) -> dict[str, Any]:
        found: Any = self._document
        for part in ref.removeprefix("#/").split("/"):
            found = found[part]
        return found

    def request(self, path: str, operation: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments of a request: path, query, headers and body."""
        query: list[tuple[str, str]] = []
        for parameter in operation.get("parameters", ()):
            value = self.value(parameter.get("schema", {}))
            if parameter["name"] == "wait_s":
                value = self._dice.choice((0, -1, "x", "nan", 1e9))
            if parameter["in"] == "path":
                known = self._dice.random() < 0.5
                path = path.replace(
                    f"{{{parameter['name']}}}", "known" if known else safe(value) or "_"
                )
            elif self._dice.random() < 0.6:
                query.append((parameter["name"], safe(value)))
        made: dict[str, Any] = {"url": path + "?" + "&".join("=".join(pair) for pair in query)}
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            made["content"] = encoded(self._body(content.get("schema", {})))
            made["headers"] = {"Content-Type": "application/json"}
        return made

    def _body(self, schema: dict[str, Any]) -> Any:
        body = self.value(schema)
        if isinstance(body, dict) and "repository" in schema_fields(self, schema):
            # What is valid by chance must not begin real work.
            body["repository"] = "/nonexistent"
        return body


def schema_fields(schema: Schema, given: dict[str, Any]) -> set[str]:
    if "$ref" in given:
        return schema_fields(schema, schema._named(given["$ref"]))
    return set(given.get("properties", {}))


def safe(value: Any) -> str:
    """The value as part of a URL."""
    return quote(str(value).encode("utf-8", "surrogatepass")[:3_000], safe="")


def encoded(value: Any) -> bytes:
    """JSON, with everything that JSON's own writer would refuse."""
    import json

    return json.dumps(value, allow_nan=True).encode("utf-8", "surrogatepass")


@pytest.mark.slow
@pytest.mark.req("QLT-3")
@pytest.mark.parametrize("seed", SEEDS)
async def test_nonsense_never_breaks_the_server(data_dir: Path, seed: int):
    async with installation(data_dir) as orchestrator, over_http(orchestrator) as client:
        await client.post(
            "/api/missions", json={"brief": "A mission.", "mission_id": "known", "hold": True}
        )
        document = (await client.get("/api/openapi.json")).json()
        schema = Schema(document, random.Random(seed))
        seen: set[int] = set()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                for _ in range(PER_OPERATION):
                    request = schema.request(path, operation)
                    seen.add(await _asked(client, method, path, request))
        assert seen >= {200, 404, 422}, "some were understood, and most were not"
        await client.get("/api/missions")


async def _asked(
    client: httpx2.AsyncClient, method: str, path: str, request: dict[str, Any]
) -> int:
    try:
        async with asyncio.timeout(STREAM_S if STREAMS in path else 20):
            answer = await client.request(method.upper(), **request)
    except TimeoutError:
        assert STREAMS in path, (method, request)
        return 200
    assert answer.status_code < 500, (method, request, answer.text)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", (request, answer.text)
        assert answer.json()["status"] == answer.status_code
    return answer.status_code
