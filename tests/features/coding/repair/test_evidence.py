"""The evidence: what makes a patch strong, how rivals are grouped, which question is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quarterdeck.features.coding.repair.evidence import (
    Behaviour,
    Comparison,
    Facts,
    Strength,
    classify,
    clusters,
    question,
)

SOLID = Facts(
    family="comparison", removal=False, flipped=1, covering=3, killed=12, open=0, alike=1,
    observed=True, rival_clusters=0, confirmed=True,
)  # fmt: skip
SEEN = Behaviour(
    inputs=(("f", "1"), ("f", "2"), ("f", "'long argument'")),
    recorded=1,
    outputs=(("1", "2", "3"), ("1", "5", "7"), ("1", "5", "8"), ("1", "5", "7"), None),
)


def test_pinned_lines_make_strong_evidence():
    assert classify(SOLID) == (Strength.STRONG, [])


@pytest.mark.parametrize(
    "change",
    [
        {"open": 12},
        {"killed": 1},
        {"alike": 9},
        {"rival_clusters": 1},
        {"confirmed": False},
        {"observed": False},
        {"removal": True},
        {"family": "guards"},
        {"covering": 0},
        {"constant_passes": True},
        {"rivals_sought": False},
        {"accidental": True},
    ],
)
def test_each_doubt_makes_it_weak(change):
    strength, doubts = classify(replace(SOLID, **change))

    assert strength is Strength.WEAK
    assert len(doubts) >= 1


def test_a_removal_that_several_tests_ask_for_can_be_strong():
    assert classify(replace(SOLID, removal=True, flipped=3))[0] is Strength.STRONG


def test_versions_are_grouped_by_what_they_do():
    assert clusters(SEEN, [1, 2, 3]) == [[1, 3], [2]]


def test_two_exceptions_are_no_difference():
    seen = Behaviour((("f", "1"),), 1, (("1",), ("raises KeyError",), ("raises ValueError",)))

    assert seen.differs(1, 2) == []


def test_the_question_names_one_differing_input():
    asked = question(SEEN, 1, 2, {1: "A", 2: "B"})

    assert asked["call"] == "f('long argument')"
    assert [answer["gives"] for answer in asked["answers"]] == ["7", "8"]
    assert asked["before"] == "3"
    assert asked["from_tests"] is False


def test_no_question_where_nothing_differs():
    assert question(SEEN, 1, 3, {1: "A", 3: "B"}) is None


def test_a_rival_that_cannot_be_watched_counts_against():
    told = Comparison(SEEN, rivals=3, survivors=0)

    assert told.differs(0) is True
    assert told.differs(1) is False
    assert told.differs(2) is None
    assert told.rival_clusters == 2
