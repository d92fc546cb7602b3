"""Who implements, for every situation there is."""

from __future__ import annotations

import itertools

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.features.coding.implementers.choose import (
    NEEDS_OPTIONS,
    Model,
    Name,
    Situation,
    choose,
)

SITUATIONS = [
    Situation(ecosystem, red, model)
    for ecosystem, red, model in itertools.product(["python", "go", ""], [True, False], Model)
]


@pytest.mark.req("ORC-8")
@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_one_that_is_named_wins_in_every_situation(situation: Situation) -> None:
    for name in Name:
        assert choose(name, situation).name is name


@pytest.mark.req("ORC-8")
@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_auto_ends_with_a_person_and_asks_nobody_twice(situation: Situation) -> None:
    chosen = choose("auto", situation)
    order = [chosen.name, *chosen.then]
    assert order[-1] is Name.BY_HAND
    assert len(set(order)) == len(order)
    assert not set(order) & NEEDS_OPTIONS
    assert chosen.reason.endswith(".")


@pytest.mark.parametrize(
    ("situation", "order"),
    [
        (Situation("python", True, Model.NONE), ["repair", "by_hand"]),
        (Situation("python", True, Model.DEMONSTRATION), ["repair", "by_hand"]),
        (Situation("python", True, Model.UNPROVEN), ["repair", "agent", "by_hand"]),
        (Situation("python", True, Model.CAPABLE), ["agent", "repair", "by_hand"]),
        (Situation("python", False, Model.UNPROVEN), ["agent", "repair", "by_hand"]),
        (Situation("python", False, Model.NONE), ["repair", "by_hand"]),
        (Situation("go", True, Model.CAPABLE), ["agent", "by_hand"]),
        (Situation("go", True, Model.DEMONSTRATION), ["by_hand"]),
        (Situation("", False, Model.NONE), ["by_hand"]),
    ],
)
def test_auto_prefers_what_can_be_checked(situation: Situation, order: list[str]) -> None:
    chosen = choose("auto", situation)
    assert [chosen.name, *chosen.then] == order


def test_a_person_gets_to_know_why_it_is_up_to_them() -> None:
    reason = choose("auto", Situation("go", True, Model.DEMONSTRATION)).reason
    assert "go" in reason
    assert "demonstration" in reason


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="auto, repair, agent, acp, command, by_hand"):
        choose("magic", SITUATIONS[0])
