"""Bodies of the AI SDK's hooks: what is asked, what is decided, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.mission import BRIEF_MAX
from quarterdeck.server.ui_request import Decision, asked
from quarterdeck.server.ui_stream import chosen, mission_of

pytestmark = pytest.mark.req("STR-5")


def _user(*parts: dict) -> dict:
    return {"id": "u", "role": "user", "parts": list(parts)}


def _said(text: str) -> dict:
    return {"type": "text", "text": text}


def test_a_completion_is_its_prompt_and_the_rest_is_passed_on():
    found = asked({"prompt": "Say hello.", "agent": "scout", "config": {"explicitAgents": []}})
    assert (found.text, found.chat, found.trigger) == ("Say hello.", None, "submit-message")
    assert found.more == {"agent": "scout", "config": {"explicitAgents": []}}


def test_a_chat_is_the_text_of_its_last_message():
    messages = [_user(_said("first")), {"role": "assistant"}, _user(_said("a"), _said("b"))]
    found = asked({"id": "c", "messages": messages, "trigger": "submit-message"})
    assert (found.text, found.chat, found.decisions) == ("a\nb", "c", ())


def test_older_messages_have_content_instead_of_parts():
    assert asked({"messages": [{"role": "user", "content": "hello"}]}).text == "hello"


def test_regenerating_is_about_the_persons_last_message():
    messages = [_user(_said("again")), {"id": "a", "role": "assistant", "parts": []}]
    found = asked({"messages": messages, "trigger": "regenerate-message", "messageId": "a"})
    assert (found.text, found.trigger, found.message_id) == ("again", "regenerate-message", "a")


def test_an_answer_that_goes_on_holds_the_decisions_and_the_place():
    approval = {"id": "ask:1", "approved": True, "reason": "Good."}
    parts = [
        {"type": "step-start"},
        {"type": "dynamic-tool", "state": "approval-requested", "approval": {"id": "ask:2"}},
        {
            "type": "dynamic-tool",
            "state": "approval-responded",
            "approval": approval,
            "input": {"digest": "d"},
        },
    ]
    last = {"role": "assistant", "parts": parts, "metadata": {"seq": 12}}
    found = asked({"id": "c", "messages": [_user(_said("x")), last]})
    assert found.text is None
    assert found.decisions == (Decision("ask:1", True, "Good.", {"digest": "d"}),)
    assert found.after == 12


@pytest.mark.parametrize("seq", [None, "7", True, -1, 1.5, {}])
def test_a_place_that_is_none_means_the_client_does_not_say(seq):
    last = {"role": "assistant", "parts": [], "metadata": {"seq": seq}}
    assert asked({"id": "c", "messages": [last]}).after == 0


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (None, "body"),
        ("prompt", "body"),
        ({}, "body"),
        ({"prompt": "x", "messages": [_user(_said("x"))]}, "body"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "x" * (BRIEF_MAX + 1)}, "prompt"),
        ({"messages": [_user(_said("x" * (BRIEF_MAX + 1)))]}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [_user()] * 201}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [_user(_said("x"))], "trigger": "resume-stream"}, "trigger"),
        ({"id": "x" * 201, "prompt": "x"}, "id"),
        ({"messages": [_user({"type": "file", "url": "x"})]}, "messages.0.parts.0"),
        ({"messages": [_user(_said(" \n"))]}, "messages"),
    ],
)
def test_what_does_not_fit_is_named(body, where):
    with pytest.raises(InvalidInput) as caught:
        asked(body)
    assert caught.value.where == where


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "role", "parts", "type", "text", "state", "approval"])
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["id", "messages", "prompt", "trigger", "x"]), _JSON))
def test_any_body_is_read_or_refused_with_a_reason(body):
    try:
        found = asked(body)
    except InvalidInput as error:
        refused = error.where
    else:
        refused = None
    assert refused or found.text is None or found.text.strip()


@given(st.text(min_size=1, max_size=200))
def test_every_chat_has_a_mission_of_its_own(chat: str):
    mission = mission_of(chat)
    assert mission_of(mission) == mission
    assert mission != mission_of(chat + "x")


def test_a_plain_yes_or_no_is_the_first_choice_that_means_it():
    question = {"choices": [{"id": "promote"}, {"id": "reprove"}, {"id": "reject"}]}
    assert chosen(question, approved=True) == "promote"
    assert chosen(question, approved=False) == "reject"
