"""Plans are checked before anything runs, and stay plans when they are extended (DAG-2)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck.core.errors import InvalidPlan, QuarterdeckError
from quarterdeck.core.plan import Patch, Plan, StepSpec, ancestors, check_steps, cycle_in, patched

IDS = [f"s{i}" for i in range(7)]


def steps_of(needs: dict[str, tuple[str, ...]]) -> tuple[StepSpec, ...]:
    return tuple(StepSpec(id=i, kind="work", needs=n) for i, n in needs.items())


graphs = st.dictionaries(
    st.sampled_from(IDS), st.lists(st.sampled_from(IDS), max_size=3).map(tuple), min_size=1
)


@pytest.mark.req("DAG-2")
@settings(max_examples=120, deadline=None)
@given(graphs)
def test_a_plan_is_taken_exactly_when_it_is_whole_and_acyclic(needs):
    unknown = {need for wanted in needs.values() for need in wanted} - set(needs)
    cyclic = not unknown and any(i in ancestors(i, needs) for i in needs)
    if not unknown and not cyclic:
        Plan(recipe="test", steps=steps_of(needs))
        return
    with pytest.raises(InvalidPlan) as caught:
        Plan(recipe="test", steps=steps_of(needs))
    if unknown:
        assert any(repr(name) in str(caught.value) for name in unknown)
    else:
        assert "cycle" in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(graphs)
def test_a_cycle_is_shown_as_a_closed_path_of_real_needs(needs):
    known = {i: tuple(n for n in wanted if n in needs) for i, wanted in needs.items()}
    path = cycle_in(known)
    if path:
        assert path[0] == path[-1]
        assert all(after in known[before] for before, after in pairwise(path))
    else:
        assert all(i not in ancestors(i, known) for i in known)


@st.composite
def extended(draw):
    needs = {f"s{i}": tuple(f"s{n}" for n in range(i) if draw(st.booleans())) for i in range(5)}
    planner = draw(st.sampled_from(list(needs)))
    untouched = {i for i in needs if planner in ancestors(i, needs)}
    count = draw(st.integers(1, 3))
    added = {f"x{i}": (f"x{i - 1}",) if i else (planner,) for i in range(count)}
    return needs, untouched, Patch(steps=steps_of(added), rewire={planner: f"x{count - 1}"})


@pytest.mark.req("DAG-1")
@settings(max_examples=60, deadline=None)
@given(extended())
def test_an_extended_plan_is_a_plan_and_followers_wait_for_what_was_added(case):
    needs, untouched, patch = case
    planner, last = next(iter(patch.rewire.items()))
    plan = patched(Plan(recipe="test", steps=steps_of(needs)), patch, untouched)
    check_steps(plan.steps)
    after = {spec.id: spec.needs for spec in plan.steps}
    assert all(last in ancestors(i, after) for i in untouched)
    assert all(after[i] == needs[i] for i in set(needs) - untouched)
    assert planner in ancestors(last, after)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((), "at least one step"),
        (steps_of({"a": ()}) * 2, "Duplicate step ids: a"),
        (tuple(StepSpec(id=f"s{i}", kind="w") for i in range(501)), "501 steps"),
        ((StepSpec(id="a", kind="w", when="b.ok"),), "'b', which is not a step before"),
        ((StepSpec(id="a", kind="w", when="1 +"),), "does not parse"),
    ],
)
def test_what_does_not_fit_is_named(steps, said):
    with pytest.raises(QuarterdeckError, match=said):
        check_steps(steps)
