"""Going round in circles: noticed when nothing changes, not when something does."""

from __future__ import annotations

from quarterdeck.features.coding.implementers.agent.rounds import (
    SAME_CALLS,
    Circles,
    Round,
    error_signature,
    tree_signature,
)

A = Round("tree-a", frozenset({"t1"}), "e1")
B = Round("tree-b", frozenset({"t1"}), "e1")


def test_two_rounds_that_equal_the_one_before_are_enough() -> None:
    circles = Circles()
    assert circles.tested(A) is None
    assert circles.tested(A) is None
    assert "Nothing changed" in (circles.tested(A) or "")


def test_any_difference_begins_anew() -> None:
    circles = Circles()
    for each in (A, A, B, B, Round("tree-b", frozenset(), "e1"), B, A):
        assert circles.tested(each) is None


def test_the_same_call_with_the_same_answer_is_a_circle() -> None:
    circles = Circles()
    for _ in range(SAME_CALLS - 1):
        assert circles.called("read a", "text") is None
    assert circles.called("read a", "other text") is None
    assert circles.called("read a", "text") is not None


def test_an_error_is_the_same_whatever_its_addresses_times_and_places() -> None:
    first = "tests in 0.12s\nE  ValueError: object at 0x7f1 in /tmp/a/x.py line 12\nok"
    again = "tests in 3.4s\nE  ValueError: object at 0x9ab in /tmp/b/y.py line 99\nok"
    other = "tests in 3.4s\nE  TypeError: object at 0x9ab in /tmp/b/y.py line 99\nok"
    assert error_signature(first) == error_signature(again)
    assert error_signature(first) != error_signature(other)


def test_the_signature_of_a_tree_follows_names_and_contents() -> None:
    assert tree_signature({"a": "1", "b": "2"}) == tree_signature({"b": "2", "a": "1"})
    assert tree_signature({"a": "1"}) != tree_signature({"a": "2"})
    assert tree_signature({"a": "1"}) != tree_signature({"b": "1"})
