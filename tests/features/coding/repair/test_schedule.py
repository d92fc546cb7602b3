"""The schedule: best first, broad, lazy, repeatable."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.schedule import Lane, merge


def edit(text: str, prior: float, *, place: int = 0, removal: bool = False) -> Edit:
    return Edit("m.py", place, place + 1, text, "rule", prior, removal)


def lane(score: float, edits: list[Edit]) -> Lane:
    return Lane(score, max((e.prior for e in edits), default=0.01), lambda: iter(edits))


lanes = st.lists(
    st.tuples(
        st.floats(0.01, 1.0),
        st.lists(st.tuples(st.integers(0, 20), st.floats(0.01, 1.0)), max_size=8),
    ),
    max_size=6,
)


def built(drawn: list[tuple[float, list[tuple[int, float]]]]) -> list[Lane]:
    return [lane(score, [edit(str(t), p) for t, p in edits]) for score, edits in drawn]


@given(lanes, st.integers(0, 5))
def test_draws_each_distinct_edit_exactly_once(drawn, seed):
    texts = [candidate.edit.text for candidate in merge(built(drawn), seed)]

    assert sorted(texts) == sorted({str(t) for _, edits in drawn for t, _ in edits})


@given(lanes, st.integers(0, 5))
def test_the_same_seed_gives_the_same_order(drawn, seed):
    first = [candidate.edit for candidate in merge(built(drawn), seed)]
    second = [candidate.edit for candidate in merge(built(drawn), seed)]

    assert first == second


@given(lanes)
def test_numbers_count_up_from_zero(drawn):
    numbers = [candidate.number for candidate in merge(built(drawn), 0)]

    assert numbers == list(range(len(numbers)))


def test_draws_the_heaviest_first():
    low = lane(0.2, [edit("a", 0.9)])
    high = lane(1.0, [edit("b", 0.9), edit("c", 0.1)])

    assert [c.edit.text for c in merge([low, high], 0)] == ["b", "a", "c"]


def test_believes_removals_less():
    mixed = lane(1.0, [edit("gone", 0.6, removal=True)])
    kept = lane(1.0, [edit("kept", 0.5)])

    assert [c.edit.text for c in merge([mixed, kept], 0)] == ["kept", "gone"]


def test_does_not_let_one_lane_starve_the_others():
    endless = lane(1.0, [edit(f"x{i}", 0.5) for i in range(2000)])
    quiet = lane(1.0, [edit("late", 0.2)])

    order = [c.edit.text for c in merge([endless, quiet], 0)]

    assert order.index("late") < 200


def test_opens_a_lane_only_when_its_turn_comes():
    opened: list[str] = []

    def watched(name: str) -> Iterator[Edit]:
        opened.append(name)
        yield edit(name, 0.5)

    first = Lane(1.0, 0.5, lambda: watched("first"))
    second = Lane(0.1, 0.5, lambda: watched("second"))

    next(merge([first, second], 0))

    assert opened == ["first"]
