"""The confidence is what the evidence makes it: it falls with conflict, emptiness and strangers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.objectives.claims import agreement, stated, values_in
from quarterdeck.features.objectives.confidence import Evidence, confidence, evidence
from quarterdeck.features.objectives.intent import classify
from quarterdeck.features.objectives.passages import Passage, coverage, passages, ranked
from quarterdeck.features.objectives.terms import telling, words

pytestmark = pytest.mark.req("RUN-1")

TERMS = ("museum", "open")


def said(source: str, text: str, origin: str = "page") -> Passage:
    return Passage(f"https://{source}/", "", text, source, origin)


def rated(*found: Passage, outside: int = 0, looked: bool = True) -> float | None:
    given_ = evidence(found, TERMS, looked=looked, in_scope=len(found), outside=outside)
    return confidence(given_)


ONE = said("a.test", "The museum opens at 9:30, and open it is.")
SAME = said("b.test", "Our museum: open from 9:30.")
OTHER = said("b.test", "Our museum: open from 10:00.")


def test_agreeing_sources_weigh_more_than_one():
    assert rated(ONE) == 0.5
    assert rated(ONE, SAME) == 0.75


def test_conflict_weighs_less_than_one_source_alone():
    assert rated(ONE, OTHER) == pytest.approx(0.5 * 0.75, abs=0.001)
    denied = said("b.test", "The museum is not open.")
    assert rated(said("a.test", "The museum is open."), denied) < 0.5


def test_nothing_found_is_zero_and_nothing_seen_is_unknown():
    assert rated() == 0.0
    assert rated(looked=False) is None


def test_results_from_outside_of_the_scope_lower_it():
    assert rated(ONE, SAME, outside=2) == pytest.approx(0.75 / 2, abs=0.001)
    assert rated(outside=3) == 0.0


def test_terms_that_are_nowhere_lower_it():
    assert rated(said("a.test", "The museum.")) == 0.25


def test_who_repeats_anothers_words_is_no_second_source():
    assert rated(ONE, said("b.test", ONE.text)) == rated(ONE)


def test_a_search_engines_own_words_are_no_evidence():
    assert rated(said("a.test", "The museum is open.", "snippet")) == 0.0


SHARE = st.floats(0, 1)
EVIDENCE = st.builds(
    Evidence,
    looked=st.just(True),
    sources=st.integers(0, 9),
    term_coverage=SHARE,
    agreement=st.none() | SHARE,
    agreement_by_kind=st.just({}),
    in_scope=st.integers(0, 50),
    outside=st.integers(0, 50),
)


@given(EVIDENCE)
def test_it_is_a_share_and_never_certain(found):
    assert 0.0 <= confidence(found) <= 1.0
    if found.outside:
        assert confidence(found) < 1.0


@given(EVIDENCE, st.integers(1, 5))
def test_it_only_falls_with_what_speaks_against_it(found, more):
    value = confidence(found)
    assert confidence(replace(found, outside=found.outside + more)) <= value
    assert confidence(replace(found, agreement=0.0)) <= value
    assert confidence(replace(found, sources=0)) <= value
    assert confidence(replace(found, term_coverage=found.term_coverage / 2)) <= value


@given(EVIDENCE.filter(lambda found: found.sources > 0))
def test_flat_conflict_never_beats_a_single_source(found):
    alone = replace(found, sources=1, agreement=None)
    assert confidence(replace(found, agreement=0.0)) <= confidence(alone) + 0.001


@pytest.mark.parametrize(
    ("sentence", "values"),
    [
        ("From 9:30 to 5 pm.", {("time", "09:30"), ("time", "17:00")}),
        ("12:15 a.m. or 12 p.m.", {("time", "00:15"), ("time", "12:00")}),
        ("On 5 January 2026", {("date", "2026-01-05")}),
        ("On Jan. 5, 2026", {("date", "2026-01-05")}),
        ("On 2026-01-05", {("date", "2026-01-05")}),
        ("It costs $1,250.50 now", {("money", "1250.5 USD")}),
        ("It costs 12 EUR or €12", {("money", "12 EUR")}),
        ("A share of 12.50 %", {("share", "12.5 %")}),
        ("It has 40 seats", {("number of seat", "40")}),
        ("It has none", set()),
    ],
)
def test_values_have_one_spelling(sentence, values):
    assert set(values_in(sentence)) == values


def test_only_sentences_about_the_question_state_anything():
    found = stated(["The shop closes at 8:00. The museum is open from 9:30."], TERMS)
    assert found == {"time": {"09:30"}, "polarity": {"affirmed"}}


@given(st.lists(st.text(max_size=80), max_size=4))
def test_whatever_is_said_agrees_with_itself(texts):
    found = stated(texts, TERMS)
    value, _ = agreement([found, found])
    assert value in {None, 1.0}


def test_what_cannot_be_compared_is_unknown():
    assert agreement([{"time": frozenset({"1"})}, {"date": frozenset({"2"})}]) == (None, {})
    assert agreement([]) == (None, {})


def test_the_intent_has_its_words_as_basis():
    found = classify("Please compare the prices of tickets, and list every fee")
    assert found.intent == "fact"
    assert [(word, name) for word, _, name in found.basis] == [
        ("compare", "compare"),
        ("price", "fact"),
        ("list", "list"),
        ("every", "list"),
        ("fee", "fact"),
    ]
    assert found.confidence == 0.4
    assert found.terms == ("price", "ticket", "fee")


def test_no_keyword_is_no_intent():
    found = classify("Harbour museum")
    assert (found.intent, found.confidence, found.note) == (None, None, None)


def test_what_no_tool_here_can_do_is_said():
    assert "buy" in (classify("Buy two tickets").note or "")


def test_terms_are_never_empty_for_words():
    assert telling("the of and") == ("the", "of", "and")
    assert words("Ｍｕｓｅｕｍs BUS glass") == ["museum", "bus", "glass"]


def test_passages_are_pieces_of_bounded_length():
    found = passages(["word " * 400, "Short one.", "x" * 5000], url="u", title="t", source="s")
    assert len(found) >= 3
    assert all(0 < len(passage.text) <= 1200 for passage in found)


def test_the_rarer_word_decides_and_no_page_fills_the_list():
    common = [said("a.test", f"museum number {n}") for n in range(5)]
    rare = said("b.test", "museum open")
    best = ranked([*common, rare], TERMS, limit=3)
    assert best[0].text == "museum open"
    assert len(best) == 3
    assert coverage(best[0], TERMS) == 1.0
    assert ranked([said("a.test", "nothing")], TERMS, limit=3) == []
    assert ranked([], TERMS, limit=3) == []
