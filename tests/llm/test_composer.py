"""Whatever steps say, side by side, twice or never to the end: the stream obeys the protocol."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.llm import chunks
from quarterdeck.llm.chunk_rules import Conformance
from quarterdeck.llm.composer import Composer, State

pytestmark = pytest.mark.req("STR-1", "STR-4")

BEGIN, END, RESET = ({"type": f"{word}-step"} for word in ("start", "finish", "reset"))


def _types(sent) -> list[str]:
    return [chunk["type"] for chunk in sent]


def test_a_delta_opens_its_part_and_the_end_of_the_step_closes_it():
    composer = Composer("m")
    sent = composer.say("a", chunks.text_delta("t", "Hello"))
    assert _types(sent) == ["start", "start-step", "text-start", "text-delta"]
    assert _types(composer.tell("a", BEGIN)) == []
    assert _types(composer.tell("a", END)) == ["text-end", "finish-step"]
    assert _types(composer.finish("stop")) == ["finish"]


def test_the_same_id_in_two_steps_and_two_attempts_is_never_the_same_part():
    composer = Composer("m")
    ids = set()
    for step in ("a", "b", "a"):
        sent = composer.say(step, chunks.text_delta("t", "x"))
        ids |= {chunk["id"] for chunk in sent if chunk["type"] == "text-start"}
        composer.tell(step, END)
    assert len(ids) == 3


def test_a_failed_attempt_is_taken_back_and_its_data_said_again():
    composer = Composer("m")
    composer.tell("a", BEGIN)
    composer.tell("a", chunks.data("step", "a", {"status": "running"}))
    composer.say("a", chunks.text_delta("t", "wrong"))
    assert composer.tell("a", RESET) == [
        {"type": "reset-step"},
        chunks.data("step", "a", {"status": "running"}),
    ]


def test_a_failed_attempt_never_takes_back_what_another_step_says():
    composer = Composer("m")
    composer.say("a", chunks.text_delta("t", "mine"))
    composer.say("b", chunks.text_delta("t", "yours"))
    assert _types(composer.tell("b", RESET)) == ["text-end"]
    assert _types(composer.say("a", chunks.text_delta("t", "still"))) == ["text-delta"]


def test_what_began_before_another_step_is_closed_before_the_reset():
    composer = Composer("m")
    composer.say("a", chunks.text_delta("t", "early"))
    composer.tell("b", BEGIN)
    composer.tell("b", END)
    composer.say("a", chunks.text_delta("u", "late"))
    assert _types(composer.tell("a", RESET)) == ["text-end", "reset-step"]


def test_a_handler_cannot_end_the_message_nor_speak_for_the_engine():
    composer = Composer("m")
    for kind in (
        "finish",
        "start",
        "error",
        "abort",
        "finish-step",
        "message-metadata",
        "nonsense",
    ):
        assert composer.say("a", {"type": kind, "errorText": "x"}) == []
    assert composer.say("a", {"type": "text-delta", "id": 1, "delta": "x"}) == []


def test_a_call_without_an_outcome_fails_with_its_step():
    composer = Composer("m")
    composer.say("a", chunks.tool_call("1", "search", {}))
    sent = composer.tell("a", END)
    assert _types(sent) == ["tool-output-error", "finish-step"]
    assert composer.say("a", chunks.tool_output("1", "late")) == [{"type": "start-step"}]


def test_a_question_outlives_its_step_until_it_is_answered():
    composer = Composer("m")
    composer.tell("a", BEGIN)
    composer.tell("a", chunks.tool_call("question", "approval", {}))
    (asked,) = composer.tell("a", chunks.approval_request("question"))
    assert not composer.resting
    assert _types(composer.tell("a", END)) == ["finish-step"]
    assert composer.resting
    (answered,) = composer.tell("a", chunks.approval_response("question", approved=True))
    assert answered["approvalId"] == asked["approvalId"]
    assert not composer.resting
    assert _types(composer.tell("a", chunks.tool_output("question", {}))) == [
        "tool-output-available"
    ]


def test_an_open_question_is_withdrawn_when_the_mission_ends():
    composer = Composer("m")
    composer.tell("a", chunks.tool_call("question", "approval", {}))
    composer.tell("a", chunks.approval_request("question"))
    assert _types(composer.finish("interrupted")) == ["tool-output-denied", "finish"]


def test_usage_adds_up_and_what_is_unknown_adds_nothing():
    composer = Composer("m")
    first = {"calls": 1, "inputTokens": 3, "cachedTokens": None, "cost": "0.1"}
    second = {"calls": 1, "inputTokens": None, "cachedTokens": None, "cost": "0.2"}
    composer.broadcast(chunks.metadata({"usage": first}))
    (sent,) = composer.broadcast(chunks.metadata({"usage": second}))
    expected = {"calls": 2, "inputTokens": 3, "cachedTokens": None, "cost": "0.3"}
    assert sent["messageMetadata"]["usage"] == expected


def test_text_beyond_the_limit_is_left_out_and_said_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("quarterdeck.llm.composer.TEXT_CHARS_MAX", 10)
    composer = Composer("m")
    composer.say("a", chunks.text_delta("t", "12345678"))
    assert _types(composer.say("a", chunks.text_delta("t", "9012"))) == ["data-truncated"]
    assert composer.say("a", chunks.text_delta("t", "3456")) == []


_PART = st.sampled_from("12")
_SAID = st.one_of(
    st.builds(chunks.text_delta, _PART, st.text(max_size=3)),
    st.builds(chunks.reasoning_delta, _PART, st.text(max_size=3)),
    st.builds(chunks.text_start, _PART),
    st.builds(chunks.text_end, _PART),
    st.builds(chunks.tool_call, _PART, st.just("t"), st.none()),
    st.builds(chunks.tool_output, _PART, st.none(), preliminary=st.booleans()),
    st.builds(chunks.tool_error, _PART, st.just("No.")),
    st.builds(chunks.approval_request, _PART),
    st.builds(chunks.approval_response, _PART, approved=st.booleans()),
    st.builds(chunks.data, st.just("step"), _PART, st.integers(0, 3)),
    st.builds(
        lambda call: {"type": "tool-input-start", "toolCallId": call, "toolName": "t"}, _PART
    ),
    st.builds(
        lambda call: {"type": "tool-input-delta", "toolCallId": call, "inputTextDelta": "x"}, _PART
    ),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)
_TOLD = st.sampled_from([BEGIN, END, RESET, chunks.data("step", "s", 1)])
_ACT = st.tuples(
    st.sampled_from(["say", "tell", "withdraw", "restart"]), st.sampled_from("abc"), _SAID, _TOLD
)


class _Reader:
    """What the client's own rules add to `Conformance`: what a reset takes away."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, Any]] = []

    def read(self, chunk) -> None:
        if chunk["type"] == "start-step":
            self.parts.append(("step", None))
        elif chunk["type"] == "reset-step":
            while self.parts[-1][0] != "step":
                self.parts.pop()
        elif chunk["type"].startswith("data-") and "id" in chunk:
            key = (chunk["type"], chunk["id"])
            if key not in self.parts:
                self.parts.append(key)


@given(st.lists(_ACT, max_size=60))
def test_any_noise_of_many_steps_becomes_a_stream_without_a_protocol_error(acts):
    composer, rules, reader, data = Composer("m"), Conformance(), _Reader(), set()
    for how, step, said, told in acts:
        if how == "say":
            sent = composer.say(step, said)
        elif how == "tell":
            sent = composer.tell(step, told)
        elif how == "withdraw":
            sent = composer.withdraw(step)
        else:
            composer = Composer("m", State.from_bytes(composer.state.as_bytes()))
            sent = []
        for chunk in sent:
            rules.check(chunk)
            reader.read(chunk)
            if chunk["type"].startswith("data-"):
                data.add((chunk["type"], chunk["id"]))
    for chunk in composer.finish("stop"):
        rules.check(chunk)
        reader.read(chunk)
    assert data <= set(reader.parts), "no reset loses a data part"
    assert composer.say("a", chunks.text_delta("1", "late")) == []
