"""A server that is stopped ends the streams it serves, at once and in words of the protocol."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from quarterdeck.llm import chunks
from tests.cli.conftest import Server

pytestmark = [pytest.mark.slow, pytest.mark.req("STR-4")]


def test_open_streams_end_as_interrupted_and_do_not_hold_up_the_stop(
    serve: Callable[..., Server],
):
    server = serve()
    headers = {"Authorization": f"Bearer {server.started['token']}"}
    client = httpx2.Client(base_url=server.started["url"], headers=headers, timeout=20)
    with client:
        mission = {"brief": "Wait for me.", "mission_id": "m_1", "hold": True}
        assert client.post("/api/missions?wait_s=20", json=mission).status_code == 201
        body = b""
        with client.stream("GET", "/api/missions/m_1/stream") as response:
            for part in response.iter_bytes():
                body += part
                if b"tool-approval-request" in body and b"interrupted" not in body:
                    server.process.terminate()
        assert body.endswith(chunks.DONE)
        assert chunks.chunks(body)[-1] == chunks.finish("interrupted")
        assert server.process.wait(10) == 0
