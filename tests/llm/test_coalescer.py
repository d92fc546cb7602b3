"""Merging deltas: the first goes at once, nothing is lost, nothing overtakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.llm.chunks import text_delta, text_end, text_start
from quarterdeck.llm.coalescer import Coalescer

pytestmark = pytest.mark.req("STR-2")


def test_the_first_delta_goes_at_once_and_later_ones_are_merged():
    merger = Coalescer(window_s=0.04)
    assert merger.add(text_delta("a", "1"), 0.0) == [text_delta("a", "1")]
    assert merger.add(text_delta("a", "2"), 0.01) == []
    assert merger.add(text_delta("a", "3"), 0.02) == []
    assert merger.due_s == pytest.approx(0.04)
    assert merger.flush(0.04) == [text_delta("a", "23")]
    assert merger.due_s is None


def test_a_slow_model_is_not_delayed_at_all():
    merger = Coalescer(window_s=0.04)
    sent = [merger.add(text_delta("a", str(n)), n * 0.05) for n in range(5)]
    assert [len(one) for one in sent] == [1] * 5


def test_the_first_delta_of_another_part_does_not_wait():
    merger = Coalescer(window_s=0.04)
    merger.add(text_delta("a", "1"), 0.0)
    assert merger.add(text_delta("b", "1"), 0.001) == [text_delta("b", "1")]


def test_an_end_takes_what_waited_with_it():
    merger = Coalescer(window_s=0.04)
    merger.add(text_delta("a", "1"), 0.0)
    merger.add(text_delta("a", "2"), 0.01)
    assert merger.add(text_end("a"), 0.02) == [text_delta("a", "2"), text_end("a")]
    assert merger.due_s is None


@st.composite
def _deltas(draw):
    gaps = draw(st.lists(st.floats(0, 0.1), max_size=40))
    parts = draw(st.lists(st.sampled_from("abc"), min_size=len(gaps), max_size=len(gaps)))
    return list(zip(gaps, parts, strict=True))


@given(_deltas())
def test_nothing_is_lost_and_every_part_keeps_its_order(deltas):
    merger, now_s, sent, given_ = Coalescer(), 0.0, [], {}
    for number, (gap_s, part) in enumerate(deltas):
        now_s += gap_s
        if merger.due_s is not None and merger.due_s <= now_s:
            sent += merger.flush(merger.due_s)
        if part not in given_:
            sent += merger.add(text_start(part), now_s)
        given_[part] = given_.get(part, "") + f"{number},"
        sent += merger.add(text_delta(part, f"{number},"), now_s)
    sent += merger.flush(now_s)
    texts: dict[str, str] = {}
    for chunk in sent:
        if chunk["type"] == "text-delta":
            texts[chunk["id"]] = texts.get(chunk["id"], "") + chunk["delta"]
    assert texts == given_
