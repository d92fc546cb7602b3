"""Bounded progress: a flood becomes a trickle and nothing is hidden silently."""

from __future__ import annotations

from quarterdeck.core.clock import SimClock
from quarterdeck.features.coding.implementers.port import Progressed, Used
from quarterdeck.features.coding.implementers.progress import (
    BURST,
    MESSAGE_MAX,
    MESSAGES_MAX,
    OutputLines,
    Progress,
)


class Time:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def advance(self, seconds: float) -> None:
        self.elapsed_s += seconds


def progress() -> tuple[Progress, Time, list[Progressed]]:
    said: list[Progressed] = []

    def emit(event: Progressed | Used) -> None:
        assert isinstance(event, Progressed)
        said.append(event)

    time = Time()
    return Progress(emit, SimClock(lambda: time.elapsed_s)), time, said


def test_a_burst_is_cut_and_what_was_left_out_is_counted() -> None:
    talk, clock, said = progress()
    for number in range(1000):
        talk.say(f"line {number}")
    assert len(said) == BURST
    talk.flush()
    assert said[-1].message == "line 999"
    assert said[-1].data["left_out"] == 1000 - BURST - 1
    clock.advance(60)
    talk.say("later")
    assert said[-1] == Progressed("later")


def test_a_long_run_cannot_say_more_than_the_limit() -> None:
    talk, clock, said = progress()
    for number in range(3 * MESSAGES_MAX):
        clock.advance(1)
        talk.say(f"line {number}")
    talk.flush()
    assert len(said) == MESSAGES_MAX + 1


def test_messages_are_plain_and_short() -> None:
    talk, _, said = progress()
    talk.say("\x1b[31mred\x1b[0m\x07 alert")
    talk.say("x" * 10_000)
    talk.say("\x00 \n")
    assert [event.message for event in said] == ["red alert", "x" * (MESSAGE_MAX - 1) + "…"]


def test_output_becomes_lines_however_it_is_cut() -> None:
    talk, _, said = progress()
    lines = OutputLines(talk)
    for byte in "grün\nzwei".encode():
        lines.feed(bytes([byte]))
    lines.end()
    assert [event.message for event in said] == ["grün", "zwei"]
    assert lines.tail == "grün\nzwei"


def test_a_line_without_end_is_bounded() -> None:
    talk, _, said = progress()
    lines = OutputLines(talk)
    for _ in range(100):
        lines.feed(b"x" * 100_000)
    lines.end()
    assert len(said) == 1
    assert len(lines.tail) <= MESSAGE_MAX
