"""Localisation: what the spectrum and the tracebacks say about lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.coding.repair.source import Source
from quarterdeck.features.coding.repair.spectrum import Fault, Spectrum, TestRun
from quarterdeck.features.coding.repair.suspects import rank

TEXT = """\
LIMIT = 3

def f(a):
    b = a + 1
    if b > LIMIT:
        return b * 2
    return b
"""
SOURCES = {"m.py": Source("m.py", TEXT)}


def run(name: str, passed: bool, lines: set[int], fault: Fault | None = None) -> TestRun:
    return TestRun(name, passed, lines={"m.py": frozenset(lines)}, fault=fault)


def spectrum(*tests: TestRun) -> Spectrum:
    failing = tuple(i for i, test in enumerate(tests) if test.passed is False)
    return Spectrum(list(tests), (), failing=failing)


def test_a_line_only_failing_tests_run_comes_first():
    ranked = rank(spectrum(run("a", False, {4, 5, 6}), run("b", True, {4, 5, 7})), SOURCES)

    assert ranked[0].line == 6
    assert ranked[0].score == 1.0


def test_a_condition_inherits_from_what_it_lets_run():
    ranked = rank(spectrum(run("a", False, {4, 5, 6}), run("b", True, {4, 5, 7})), SOURCES)

    order = [suspect.line for suspect in ranked]
    assert order.index(5) < order.index(4)


def test_the_traceback_raises_its_line():
    fault = Fault("TypeError", "x", frames=(("m.py", 4, "f"),))

    ranked = rank(spectrum(run("a", False, {4, 5, 6}, fault)), SOURCES)

    assert ranked[0].line == 4
    assert ranked[0].why == "named in the traceback"


def test_a_constant_used_by_a_suspect_is_a_suspect():
    ranked = rank(spectrum(run("a", False, {4, 5})), SOURCES)

    assert any(suspect.line == 1 and "import" in suspect.why for suspect in ranked)


def test_any_line_is_a_suspect_where_nothing_was_seen_to_run():
    tests = [TestRun("a", False, lines={"other.py": frozenset({1})})]

    ranked = rank(Spectrum(tests, (), failing=(0,)), SOURCES)

    assert {suspect.why for suspect in ranked} == {"nothing was seen to run"}


@given(
    st.lists(
        st.tuples(st.booleans(), st.sets(st.sampled_from([4, 5, 6, 7]))), min_size=1, max_size=6
    )
)
def test_scores_lie_between_zero_and_one_in_falling_order(drawn):
    tests = [run(str(i), passed, lines) for i, (passed, lines) in enumerate(drawn)]

    scores = [suspect.score for suspect in rank(spectrum(*tests), SOURCES)]

    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
