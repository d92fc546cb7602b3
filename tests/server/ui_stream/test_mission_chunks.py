"""Facts as chunks: every kind of fact, well-formed, and no exception's words."""

from __future__ import annotations

import pytest

from quarterdeck.core.events import Event, EventType
from quarterdeck.llm.chunk_rules import Conformance, problem_of
from quarterdeck.llm.composer import Composer
from quarterdeck.server.mission_chunks import UNFORESEEN, chunks_for, compose, public_error

pytestmark = pytest.mark.req("STR-1", "STR-4")

ASKED = {
    "question": "Go on?",
    "choices": [{"id": "promote", "label": "Go on"}, {"id": "reject", "label": "Stop"}],
    "detail": {},
    "digest": None,
}
DATA = {
    EventType.STEP_PROGRESSED: {"message": "Half.", "fraction": 0.5},
    EventType.STEP_WAITING: {"question": ASKED},
    EventType.STEP_ANSWERED: {"answer": {"choice": "promote", "actor": "user:owner", "reason": ""}},
    EventType.STEP_FAILED: {"error": "The model hung up.", "retry_at": None},
    EventType.STEP_SKIPPED: {"reason": "not needed"},
    EventType.MISSION_FINISHED: {"status": "failed", "outcome": None, "error": "s: No."},
    EventType.MODEL_CALLED: {"input_tokens": 1, "output_tokens": 2, "currency": "USD"},
}


def _event(kind: EventType, step: str | None, data: dict | None = None) -> Event:
    given = DATA.get(kind, {}) if data is None else data
    return Event(kind, "2026-01-01T00:00:00Z", "default", "system", "m1", step, given)


def _types(sent) -> list[str]:
    return [chunk["type"] for chunk in sent]


@pytest.mark.parametrize("kind", list(EventType))
@pytest.mark.parametrize("step", [None, "s"])
def test_every_fact_has_well_formed_chunks_or_none(kind: EventType, step: str | None):
    if (step is None) is kind.value.startswith("step."):
        return
    assert [problem_of(chunk) for chunk in chunks_for(_event(kind, step))] == [None] * len(
        chunks_for(_event(kind, step))
    )


def test_the_story_of_a_mission_is_a_conforming_stream():
    composer, rules = Composer("m1"), Conformance()
    story = [
        (EventType.MISSION_SUBMITTED, None),
        (EventType.STEP_STARTED, "a"),
        (EventType.STEP_STARTED, "b"),
        (EventType.STEP_PROGRESSED, "a"),
        (EventType.STEP_FAILED, "b"),
        (EventType.MODEL_CALLED, "a"),
        (EventType.STEP_FINISHED, "a"),
        (EventType.STEP_STARTED, "c"),
        (EventType.STEP_WAITING, "c"),
        (EventType.STEP_ANSWERED, "c"),
        (EventType.STEP_STARTED, "c"),
        (EventType.STEP_WAITING, "c"),
        (EventType.MISSION_REWOUND, None),
        (EventType.STEP_STARTED, "a"),
        (EventType.STEP_INTERRUPTED, "a"),
        (EventType.STEP_STARTED, "a"),
        (EventType.STEP_CANCELLED, "a"),
        (EventType.MISSION_FINISHED, None),
    ]
    rules.check_all(
        chunk for kind, step in story for chunk in compose(composer, _event(kind, step))
    )


def test_a_question_without_choices_asks_nobody():
    waiting = {"question": {**ASKED, "choices": []}, "wake_at": "2026-01-02T00:00:00Z"}
    sent = chunks_for(_event(EventType.STEP_WAITING, "s", waiting))
    assert _types(sent) == ["finish-step", "data-step"]


@pytest.mark.parametrize(("choice", "approved"), [("promote", True), ("reject", False)])
def test_an_answer_is_a_decision_and_the_choice_itself(choice: str, approved: bool):
    answer = {"answer": {"choice": choice, "actor": "user:owner", "reason": "Because."}}
    decision, output, _ = chunks_for(_event(EventType.STEP_ANSWERED, "s", answer))
    assert (decision["approved"], decision["reason"]) == (approved, "Because.")
    assert output["output"]["choice"] == choice


def test_a_cancelled_mission_is_an_abort_and_a_failed_one_an_error():
    cancelled = _event(EventType.MISSION_FINISHED, None, {"status": "cancelled"})
    assert _types(chunks_for(cancelled)) == ["data-mission", "abort", "finish"]
    failed = chunks_for(_event(EventType.MISSION_FINISHED, None))
    assert _types(failed) == ["data-mission", "error", "finish"]
    assert failed[1]["errorText"] == "s: No."


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("The model hung up.", "The model hung up."),
        ("consult: The model hung up.", "consult: The model hung up."),
        ("Unexpected KeyError: 'password'", UNFORESEEN),
        ("consult: Unexpected KeyError: 'x'", f"consult: {UNFORESEEN}"),
        ("ConnectionError: postgres://u:p@h", UNFORESEEN),
        ("asyncio.exceptions.TimeoutError: x", UNFORESEEN),
        ("TimeoutError", UNFORESEEN),
        ("It broke.\nTraceback (most recent call last)", "It broke."),
        (None, UNFORESEEN),
        ("", UNFORESEEN),
    ],
)
def test_only_sentences_for_people_are_shown(said: str | None, shown: str):
    assert public_error(said) == shown


def test_a_long_error_is_cut():
    assert len(public_error("It said: " + "x" * 10_000)) == 500
