"""Missions as streams over real HTTP: start, replay, rest, stop, failure, death."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from quarterdeck.core.errors import StepFailed
from quarterdeck.core.events import EventType
from quarterdeck.core.step import Done
from quarterdeck.llm import chunks
from quarterdeck.llm.chunk_rules import Conformance
from quarterdeck.server import stream_response, streams
from tests.server.ui_stream.building import House, ask, house, kind, recipe, speak

pytestmark = pytest.mark.req("STR-1", "STR-2", "STR-4", "STR-5")

SOLVE = recipe("solve", {"id": "speak"})
ASKING = recipe("asking", {"id": "speak"}, {"id": "ask", "needs": ["speak"]})
KINDS = [kind("speak", speak), kind("ask", ask)]


def _chat(text: str, chat: str = "c1", **more) -> dict:
    message = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"id": chat, "messages": [message], "trigger": "submit-message", **more}


def _text(sent) -> str:
    return "".join(chunk["delta"] for chunk in sent if chunk["type"] == "text-delta")


def _types(sent) -> list[str]:
    return [chunk["type"] for chunk in sent]


async def _said(built: House, words: bytes) -> None:
    async with asyncio.timeout(30):
        while not any(words in b"".join(one.recent) for one in built.kept._streams.values()):
            await asyncio.sleep(0.01)


@pytest.fixture
async def open_house(tmp_path):
    async with house(tmp_path / "data", [SOLVE, ASKING], KINDS) as built:
        yield built
        assert not built.reported


async def test_a_chat_is_a_mission_streamed_to_its_end(open_house: House):
    response, body = await open_house.read("POST", "/api/stream", json=_chat("Say hello."))
    assert {name: response.headers[name] for name in chunks.HEADERS if name != "connection"} == {
        name: value for name, value in chunks.HEADERS.items() if name != "connection"
    }
    assert body.startswith(chunks.OPENED)
    assert body.endswith(chunks.DONE)
    sent = chunks.chunks(body)
    Conformance().check_all(sent)
    assert _text(sent) == "Hello, world"
    assert sent[0]["messageId"] == "c1"
    assert sent[-1] == {"type": "finish", "finishReason": "stop"}
    steps = [c["data"]["status"] for c in sent if c["type"] == "data-step"]
    assert steps == ["running", "done"]
    (progress,) = [chunk for chunk in sent if chunk["type"] == "data-progress"]
    assert progress["data"] == {"step": "speak", "message": "Said it.", "fraction": 1.0}


async def test_a_completion_is_a_mission_too(open_house: House):
    sent = await open_house.chunks("POST", "/api/stream", json={"prompt": "Say hello."})
    assert _text(sent) == "Hello, world"


async def test_the_same_request_again_attaches_and_another_brief_is_refused(open_house: House):
    first = await open_house.chunks("POST", "/api/stream", json=_chat("Say hello."))
    again = await open_house.chunks("POST", "/api/stream", json=_chat("Say hello."))
    assert _text(again) == _text(first)
    response, body = await open_house.read("POST", "/api/stream", json=_chat("Something else."))
    assert (response.status_code, b"has its brief" in body) == (409, True)


async def test_a_resumed_stream_begins_at_the_first_chunk(open_house: House):
    _, first = await open_house.read("POST", "/api/stream", json=_chat("Hi.", "UPPER case id"))
    _, again = await open_house.read("GET", "/api/stream/UPPER%20case%20id/stream")
    assert again == first
    mission = chunks.chunks(first)[0]["messageMetadata"]["mission"]
    _, third = await open_house.read("GET", f"/api/missions/{mission}/stream")
    assert third == first


async def test_nothing_active_and_nothing_stored_is_no_content(open_house: House):
    new, _ = await open_house.read("GET", "/api/stream/never-seen/stream")
    unknown, _ = await open_house.read("GET", "/api/missions/never-seen/stream")
    await open_house.client.post("/api/missions", json={"brief": "x", "mission_id": "m1"})
    assert (new.status_code, unknown.status_code) == (204, 404)


async def test_a_mission_that_said_nothing_and_is_over_is_no_content(tmp_path):
    async def quiet(_context):
        return Done()

    async with house(tmp_path, [recipe("solve", {"id": "quiet"})], [kind("quiet", quiet)]) as built:
        given = {"brief": "x", "mission_id": "m1"}
        await built.client.post("/api/missions?wait_s=5", json=given)
        response, _ = await built.read("GET", "/api/missions/m1/stream")
        assert response.status_code == 204
        assert not built.streams._writers


async def test_a_question_ends_the_answer_and_the_decision_goes_on_with_it(open_house: House):
    body = _chat("Ask me.", recipe="asking")
    first = await open_house.chunks("POST", "/api/stream", json=body)
    assert first[-1]["finishReason"] == "tool-calls"
    (request,) = [chunk for chunk in first if chunk["type"] == "tool-approval-request"]
    (call,) = [chunk for chunk in first if chunk["type"] == "tool-input-available"]
    part = {
        "type": "dynamic-tool",
        "toolName": call["toolName"],
        "toolCallId": call["toolCallId"],
        "state": "approval-responded",
        "input": call["input"],
        "approval": {"id": request["approvalId"], "approved": True, "reason": "Good."},
    }
    answer = {
        "id": "c1",
        "role": "assistant",
        "metadata": first[-1]["messageMetadata"],
        "parts": [part],
    }
    body["messages"].append(answer)
    second = await open_house.chunks("POST", "/api/stream", json=body)
    assert second[0] == {"type": "start", "messageId": "c1"}
    assert second[-1]["finishReason"] == "stop"
    assert {"tool-approval-response", "tool-output-available"} <= set(_types(second))
    Conformance().check_all([*first[:-1], *second[1:]])
    whole = await open_house.chunks("GET", "/api/missions/c1/stream")
    assert whole == [*first[:-1], *second[1:]]
    again = await open_house.chunks("POST", "/api/stream", json=body)
    assert again == second, "a decision that comes twice counts once"


async def test_a_stale_digest_is_refused_and_nothing_is_decided(open_house: House):
    body = _chat("Ask me.", recipe="asking")
    first = await open_house.chunks("POST", "/api/stream", json=body)
    (request,) = [chunk for chunk in first if chunk["type"] == "tool-approval-request"]
    part = {
        "type": "dynamic-tool",
        "state": "approval-responded",
        "input": {"digest": "old"},
        "approval": {"id": request["approvalId"], "approved": True},
    }
    body["messages"].append({"id": "c1", "role": "assistant", "parts": [part]})
    response, _ = await open_house.read("POST", "/api/stream", json=body)
    assert response.status_code == 409
    run = await open_house.engine.run(("default", "c1"))
    assert not run.steps["ask"].answers


async def test_a_client_that_leaves_stops_nothing_and_leaves_nothing_behind(tmp_path):
    gate = asyncio.Event()

    async def slow(context):
        context.stream(chunks.text_delta("t", "first"))
        await gate.wait()
        context.stream(chunks.text_delta("t", " second"))
        return Done()

    async with house(tmp_path, [recipe("solve", {"id": "slow"})], [kind("slow", slow)]) as built:
        async with built.client.stream("POST", "/api/stream", json=_chat("x")) as response:
            async for part in response.aiter_bytes():
                if b"first" in part:
                    break
        async with asyncio.timeout(30):
            while built.streams._followers:
                await asyncio.sleep(0.01)
        gate.set()
        await built.engine.ended(("default", "c1"))
        sent = await built.chunks("GET", "/api/missions/c1/stream")
        assert _text(sent) == "first second"
        async with asyncio.timeout(30):
            while built.streams._writers or built.kept._streams:
                await asyncio.sleep(0.01)


async def test_stop_is_a_call_of_its_own(tmp_path):
    async def endless(context):
        context.stream(chunks.text_delta("t", "on and on"))
        await asyncio.Event().wait()

    plan = recipe("solve", {"id": "endless"})
    async with house(tmp_path, [plan], [kind("endless", endless)]) as built:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(built.chunks("POST", "/api/stream", json=_chat("x")))
            await _said(built, b"on and on")
            stopped = await built.client.post("/api/missions/c1/stream/stop")
        sent = reading.result()
        assert stopped.json()["stopped"] is True
        assert "abort" in _types(sent)
        Conformance().check_all(sent)
        again = await built.client.post("/api/missions/c1/stream/stop")
        assert again.json() == {"mission": "c1", "stopped": False, "status": "cancelled"}


async def test_a_failed_attempt_is_taken_back_and_the_next_one_stands(tmp_path):
    async def second_time(context):
        context.stream(chunks.text_delta("t", f"attempt {context.attempt}"))
        await asyncio.sleep(0)
        if context.attempt == 1:
            raise StepFailed("The model hung up.", retry=True)
        return Done()

    plan = recipe("solve", {"id": "second"})
    kinds = [kind("second", second_time, attempts_max=2, backoff_s=0.01)]
    async with house(tmp_path, [plan], kinds) as built:
        sent = await built.chunks("POST", "/api/stream", json=_chat("x"))
        Conformance().check_all(sent)
        assert _types(sent).count("reset-step") == 1
        assert sent[-1]["finishReason"] == "stop"


async def test_what_an_exception_says_never_reaches_the_client(tmp_path):
    async def leak(context):
        context.stream(chunks.text_delta("t", "partial"))
        raise ConnectionError("postgres://admin:hunter2@db/prod")

    plan = recipe("solve", {"id": "leak"})
    async with house(tmp_path, [plan], [kind("leak", leak)]) as built:
        _, body = await built.read("POST", "/api/stream", json=_chat("x"))
        sent = chunks.chunks(body)
        Conformance().check_all(sent)
        assert b"hunter2" not in body
        assert b"ConnectionError" not in body
        assert {"type": "error"} == {k: v for k, v in sent[-2].items() if k == "type"}
        assert sent[-1]["finishReason"] == "error"
        run = await built.engine.run(("default", "c1"))
        assert run.status == "failed", "the failure is a recorded run"


async def test_usage_is_the_providers_own_count(tmp_path):
    async def call(context):
        for n in (1, 2):
            data = {"input_tokens": 10 * n, "output_tokens": n, "cached_tokens": 0, "price": "0.01"}
            context.emit(EventType.MODEL_CALLED, {**data, "currency": "USD"})
        return Done()

    async with house(tmp_path, [recipe("solve", {"id": "call"})], [kind("call", call)]) as built:
        sent = await built.chunks("POST", "/api/stream", json=_chat("x"))
        usage = [c["messageMetadata"]["usage"] for c in sent if c["type"] == "message-metadata"]
        assert usage[-1] == {
            "calls": 2,
            "unmeasuredCalls": 0,
            "inputTokens": 30,
            "outputTokens": 3,
            "cachedTokens": 0,
            "cost": "0.02",
        }


async def test_a_quiet_stream_is_kept_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(stream_response, "IDLE_S", 0.02)
    gate = asyncio.Event()

    async def wait(_context):
        await gate.wait()
        return Done()

    async with house(tmp_path, [recipe("solve", {"id": "wait"})], [kind("wait", wait)]) as built:
        body = b""
        async with built.client.stream("POST", "/api/stream", json=_chat("x")) as response:
            async for part in response.aiter_bytes():
                body += part
                if body.count(chunks.KEEP_ALIVE) >= 2:
                    gate.set()
        assert chunks.chunks(body)[-1]["finishReason"] == "stop"


async def test_a_server_that_stops_says_that_the_stream_was_interrupted(tmp_path):
    async def endless(context):
        context.stream(chunks.text_delta("t", "so far"))
        await asyncio.Event().wait()

    plan, kinds = recipe("solve", {"id": "endless"}), [kind("endless", endless)]
    async with house(tmp_path, [plan], kinds) as built:
        body = b""
        async with built.client.stream("POST", "/api/stream", json=_chat("x")) as response:
            async for part in response.aiter_bytes():
                body += part
                if b"so far" in body:
                    built.streams.interrupt()
        sent = chunks.chunks(body)
        assert sent[-1] == {"type": "finish", "finishReason": "interrupted"}


@pytest.mark.parametrize("killed", [True, False])
async def test_after_a_restart_the_stream_goes_on_without_the_interrupted_words(tmp_path, killed):
    async def endless(context):
        context.stream(chunks.text_delta("t", "lost words"))
        await asyncio.Event().wait()

    async def whole(context):
        context.stream(chunks.text_delta("t", "whole words"))
        await asyncio.sleep(0)
        return Done()

    plan, left = recipe("solve", {"id": "work"}), tmp_path / "left"
    async with house(left, [plan], [kind("work", endless)]) as built:
        await built.client.post("/api/missions", json={"brief": "x", "mission_id": "m1"})
        await _said(built, b"lost words")
        await built.kept.flush()
        # What a killed process leaves is what the disk holds at that moment.
        shutil.copytree(left, tmp_path / "killed")
    found = tmp_path / "killed" if killed else left
    async with house(found, [plan], [kind("work", whole)]) as built:
        sent = await built.chunks("GET", "/api/missions/m1/stream")
        Conformance().check_all(sent)
        kinds = _types(sent)
        assert "reset-step" in kinds
        kept = sent[kinds.index("reset-step") :]
        assert _text(kept) == "whole words"


async def test_a_stream_that_cannot_be_read_ends_with_an_error_part(open_house, monkeypatch):
    await open_house.chunks("POST", "/api/stream", json=_chat("Say hello."))

    async def broken(*_args, **_more):
        raise RuntimeError("secret path /etc/shadow")
        yield

    monkeypatch.setattr(open_house.streams, "follow", broken)
    _, body = await open_house.read("GET", "/api/missions/c1/stream")
    assert chunks.chunks(body) == [chunks.error(stream_response.BROKEN), chunks.finish("error")]
    assert b"secret" not in body
    assert any("secret path" in line for line in open_house.reported)
    open_house.reported.clear()


async def test_too_many_followers_are_told_to_come_back(open_house, monkeypatch):
    monkeypatch.setattr(streams, "FOLLOWERS_MAX", 0)
    response, _ = await open_house.read("POST", "/api/stream", json=_chat("Say hello."))
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "JSON object"),
        ({}, "prompt"),
        ({"prompt": " "}, "says nothing"),
        ({"prompt": "x", "messages": [{"role": "user", "parts": []}]}, "prompt"),
        ({"prompt": "x", "recipe": "none"}, "recipe"),
        ({"prompt": "x", "colour": "red"}, "colour"),
        ({"id": "c1", "messages": []}, "messages"),
        ({"id": "c1", "messages": [{"role": "robot"}]}, "role"),
        ({"messages": [{"role": "assistant", "parts": []}]}, "which chat"),
    ],
)
async def test_bad_bodies_are_problems_that_name_the_place(open_house, body, said):
    response, text = await open_house.read("POST", "/api/stream", json=body)
    assert 400 <= response.status_code < 500
    assert said in text.decode()
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_token_is_needed(open_house):
    for method, path in (
        ("POST", "/api/stream"),
        ("GET", "/api/missions/m1/stream"),
        ("POST", "/api/missions/m1/stream/stop"),
    ):
        headers = {"Authorization": "Bearer wrong"}
        response, _ = await open_house.read(method, path, headers=headers, json={"prompt": "x"})
        assert response.status_code == 401
