"""Chunks and their bytes: what goes in comes out, one event each, whatever the text holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.llm import chunks
from quarterdeck.llm.chunk_rules import FIELDS, BrokenStream, Conformance, problem_of

pytestmark = pytest.mark.req("STR-1")


@given(st.lists(st.text(), max_size=8))
def test_frames_are_one_event_each_and_read_back(texts: list[str]):
    sent = [chunks.text_delta("t", text) for text in texts]
    body = chunks.joined(sent)
    assert chunks.frames(body) == [chunks.frame(chunk) for chunk in sent]
    assert chunks.chunks(body) == sent
    assert all(event.count(b"\n") == 2 for event in chunks.frames(body))


def test_comments_and_the_end_mark_are_no_chunks():
    body = chunks.OPENED + chunks.frame(chunks.finish("stop")) + chunks.KEEP_ALIVE + chunks.DONE
    assert chunks.chunks(body) == [{"type": "finish", "finishReason": "stop"}]


@pytest.mark.parametrize("value", ["half \ud83d", {"deep": ["\udfff", 2**70, b"x", None, 1.5]}])
def test_what_json_cannot_carry_is_mended_not_raised(value):
    body = chunks.frame(chunks.data("odd", "1", value))
    assert chunks.chunks(body)[0]["type"] == "data-odd"


@pytest.mark.parametrize(
    "chunk",
    [
        chunks.start("m", {"mission": "m"}),
        chunks.text_start("1"),
        chunks.text_delta("1", "x"),
        chunks.text_end("1"),
        chunks.reasoning_delta("1", "x"),
        chunks.tool_call("1", "search", {"q": 1}, title="Search"),
        chunks.tool_output("1", [1], preliminary=True),
        chunks.tool_error("1", "No."),
        chunks.approval_request("1"),
        chunks.approval_response("1", approved=False, reason="No."),
        chunks.data("progress", "s", {"fraction": None}),
        chunks.metadata({"usage": {}}),
        chunks.error("It broke."),
        chunks.finish("error", {"a": 1}),
    ],
)
def test_every_maker_makes_a_chunk_of_the_protocol(chunk):
    assert problem_of(chunk) is None


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        ({}, "no type"),
        ({"type": 3}, "no type"),
        ({"type": "progress"}, "no type 'progress'"),
        ({"type": "data-"}, "no type"),
        ({"type": "text-delta", "id": "1"}, "lacks delta"),
        ({"type": "text-delta", "id": 1, "delta": "x"}, "id = '1'"),
        ({"type": "finish", "finishReason": "tired"}, "tired"),
        ({"type": "error", "errorText": "x", "trace": "y"}, "trace"),
        ({"type": "custom", "kind": "plain"}, "plain"),
    ],
)
def test_a_chunk_that_the_client_would_refuse_is_named(chunk, said):
    assert said in (problem_of(chunk) or "")


START, FINISH = {"type": "start"}, {"type": "finish"}
STEP, OVER = {"type": "start-step"}, {"type": "finish-step"}


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ([STEP], "start"),
        ([START, START], "start"),
        ([START], "no finish"),
        ([START, FINISH, FINISH], "after finish"),
        ([START, OVER], "No step"),
        ([START, {"type": "reset-step"}], "No step"),
        ([START, STEP, FINISH], "open"),
        ([START, chunks.text_delta("1", "x")], "not open"),
        ([START, chunks.text_start("1"), chunks.text_start("1")], "open already"),
        ([START, chunks.text_start("1"), FINISH], "Still open"),
        ([START, chunks.text_end("1")], "not open"),
        ([START, chunks.tool_output("1", 1)], "no call"),
        ([START, chunks.approval_response("1", approved=True)], "Nobody asked"),
        (
            [
                START,
                chunks.tool_call("1", "t", {}),
                {"type": "tool-input-delta", "toolCallId": "1", "inputTextDelta": "x"},
            ],
            "complete",
        ),
    ],
)
def test_a_stream_out_of_order_is_refused(stream, said):
    with pytest.raises(BrokenStream, match=said):
        Conformance().check_all(stream)


def test_the_list_of_types_is_the_clients():
    assert len(FIELDS) == 29
