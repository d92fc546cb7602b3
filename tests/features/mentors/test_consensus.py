"""How votes are counted; every expected number here was worked out by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.mentors.consensus import (
    Ballot,
    borda,
    consensus_json,
    decide,
    n_effective,
    stance,
    unassailable,
    vote_weights,
)
from quarterdeck.features.mentors.opinion import ApproachKind, Opinion
from quarterdeck.features.mentors.similarity import Vectors, medoid
from tests.features.mentors.building import opinion

pytestmark = pytest.mark.req("ORC-4")

FIX, TESTS, REFACTOR, REDESIGN = "fix_logic", "add_tests", "refactor", "redesign"


def ballot(model: str, *samples: tuple[str, ...], family: str | None = None, **fields) -> Ballot:
    """A mentor whose samples rank these approaches; each text names mentor and kind."""
    opinions = tuple(
        Opinion.model_validate(opinion(*((kind, f"{model} says {kind}") for kind in ranking)))
        for ranking in samples
    )
    return Ballot(model, family or model, opinions, **fields)


def test_two_of_three_mentors_agree_and_the_third_is_kept_as_dissent():
    result = decide(
        [
            ballot("qwen", (FIX, TESTS)),
            ballot("mistral", (FIX, REFACTOR)),
            ballot("llama", (REDESIGN, FIX)),
        ]
    )
    assert (result.status, result.leader) == ("consensus", FIX)
    assert result.tally == "2 of 3 mentors, 2 families"
    assert result.points == {FIX: 3 + 3 + 2, TESTS: 2, REFACTOR: 2, REDESIGN: 3}
    assert result.support == pytest.approx(2 / 3)
    assert [(s.ballot.model, s.opinion.first.text) for s in result.dissent] == [
        ("llama", "llama says redesign")
    ]
    assert result.n_effective is None


def test_one_family_counts_less_than_its_number():
    result = decide(
        [
            ballot("qwen-a", (FIX,), family="qwen"),
            ballot("qwen-b", (FIX,), family="qwen"),
            ballot("llama", (REDESIGN,)),
        ]
    )
    assert result.weights == {"qwen-a": 0.7, "qwen-b": 0.7, "llama": 1.0}
    assert result.support == pytest.approx(1.4 / 2.4)
    assert result.tally == "2 of 3 mentors, 1 family"
    assert result.status == "consensus"


def test_three_siblings_do_not_outvote_two_others():
    clones = [ballot(f"qwen-{n}", (FIX,), family="qwen") for n in "abc"]
    result = decide([*clones, ballot("llama", (REDESIGN,)), ballot("mistral", (REDESIGN,))])
    assert result.weights["qwen-a"] == pytest.approx(0.6)
    assert result.leader == REDESIGN
    assert result.tally == "2 of 5 mentors, 2 families"


def test_a_second_choice_of_all_leads_without_a_majority():
    result = decide(
        [ballot("a", (FIX, TESTS)), ballot("b", (REDESIGN, FIX)), ballot("c", (REFACTOR, FIX))]
    )
    assert (result.status, result.leader, result.points[FIX]) == ("leaning", FIX, 7)
    assert result.tally == "1 of 3 mentors, 1 family"


def test_a_tie_is_no_consensus_and_names_both():
    result = decide([ballot("a", (FIX, REDESIGN)), ballot("b", (REDESIGN, FIX))])
    assert (result.status, result.leader, result.quote) == ("no_consensus", None, None)
    assert "fix_logic, redesign" in result.reason
    assert result.dissent == ()
    assert consensus_json(result)["approach"] is None


def test_a_missing_quorum_is_no_consensus():
    silent = Ballot("llama", "llama", error="No answer within 120 s.")
    result = decide([ballot("qwen", (FIX,)), silent])
    assert (result.status, result.leader) == ("no_consensus", None)
    assert result.reason == "Quorum missing: 1 mentor voted, 2 are needed."
    assert result.tally == "no consensus among 1 mentor (1 of 2 asked gave no vote)"


def test_nobody_at_all_is_no_consensus():
    assert decide([]).status == "no_consensus"


def test_silent_mentors_are_told_apart_from_voters():
    result = decide([ballot("a", (FIX,)), ballot("b", (FIX,)), Ballot("c", "c", error="broken")])
    assert result.tally == "2 of 2 mentors (1 of 3 asked gave no vote), 2 families"
    assert [b.model for b in result.silent] == ["c"]


def test_a_mentor_is_first_made_consistent_with_itself():
    one = stance(ballot("qwen", (FIX, TESTS), (FIX, REFACTOR), (REDESIGN, FIX)))
    assert one is not None
    assert one.ranking == (FIX, REDESIGN, TESTS)
    assert one.agreement == pytest.approx(2 / 3)
    assert one.opinion.first.kind == FIX


def test_one_sample_shows_no_agreement():
    one = stance(ballot("qwen", (FIX,)))
    assert one is not None
    assert one.agreement is None


def test_abstaining_samples_do_not_vote():
    abstaining = Opinion.model_validate(opinion((FIX, "x"), abstain=True))
    mostly = Ballot("a", "a", (abstaining, abstaining, *ballot("a", (FIX,)).opinions))
    assert mostly.abstained
    assert stance(mostly) is None
    partly = Ballot("a", "a", (abstaining, *ballot("a", (FIX,), (FIX,)).opinions))
    assert not partly.abstained
    assert len(partly.voting) == 2


def test_a_kind_named_twice_counts_once():
    one = stance(ballot("a", (FIX, FIX, TESTS)))
    assert one is not None
    assert one.ranking == (FIX, TESTS)


def test_past_outcomes_weigh_a_mentor():
    result = decide(
        [ballot("a", (FIX,), weight=3.0), ballot("b", (REDESIGN,)), ballot("c", (REDESIGN,))]
    )
    assert result.leader == FIX
    assert result.support == pytest.approx(3 / 5)


def test_the_leader_is_unassailable_only_when_no_answer_can_change_it():
    points = {ApproachKind.FIX_LOGIC: 6.0, ApproachKind.REDESIGN: 2.0}
    assert unassailable(points, 1.0)
    assert not unassailable(points, 1.4)
    assert not unassailable({}, 0.0)


def test_correlated_mentors_are_worth_fewer():
    assert n_effective(3, None) is None
    assert n_effective(3, 0.0) == 3
    assert n_effective(3, 0.5) == pytest.approx(1.5)
    assert n_effective(3, 1.0) == 1


def test_the_gravest_risk_stands_and_the_cause_is_voted():
    low, high = opinion((FIX, "x")), opinion((FIX, "x"), risk="high")
    result = decide(
        [Ballot(n, n, (Opinion.model_validate(o),)) for n, o in (("a", low), ("b", high))]
    )
    shown = consensus_json(result)
    assert (shown["risk"], shown["root_cause"]) == ("high", "logic")
    assert shown["files"] == [{"name": "src/range.py", "mentors": 2}]


def test_the_medoid_is_quoted_verbatim():
    texts = [
        ("a", "Use <= in the loop bound."),
        ("b", "Use <= in the loop bound of range."),
        ("c", "Rewrite everything in one go."),
    ]
    found = medoid(texts)
    assert found is not None
    assert (found.text, found.model, found.basis) == (texts[0][1], "a", "token-set")


def test_embeddings_are_used_when_they_cover_every_text():
    texts = [("a", "one"), ("b", "two"), ("c", "three")]
    vectors = Vectors("mini", {"one": (1.0, 0.0), "two": (0.9, 0.1), "three": (0.0, 1.0)})
    found = medoid(texts, vectors)
    assert found is not None
    assert (found.text, found.basis) == ("two", "embedding:mini")
    partly = medoid(texts, Vectors("mini", {"one": (1.0, 0.0)}))
    assert partly is not None
    assert partly.basis == "token-set"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_equal_points_are_decided_by_first_places_whatever_the_order_of_adding(order):
    # Weight 0.6 each. fix_logic: 3 + 3 = 6, add_tests: 2 + 3 + 1 = 6, refactor: 1 + 2 + 2 = 5.
    siblings = [
        ballot("q1", (FIX, TESTS, REFACTOR), family="qwen"),
        ballot("q2", (TESTS, REFACTOR), family="qwen"),
        ballot("q3", (FIX, REFACTOR, TESTS), family="qwen"),
    ]
    result = decide([siblings[n] for n in order])
    assert result.points == {FIX: 3.6, TESTS: 3.6, REFACTOR: 3.0}
    assert result.leader == FIX


KINDS = st.sampled_from(list(ApproachKind))
BALLOTS = st.lists(
    st.tuples(
        st.sampled_from(["qwen", "llama", "mistral"]),
        st.lists(st.lists(KINDS, min_size=1, max_size=3), max_size=3),
    ),
    max_size=5,
).map(
    lambda drawn: [
        ballot(f"m{n}", *map(tuple, samples), family=family)
        for n, (family, samples) in enumerate(drawn)
    ]
)


@given(BALLOTS)
def test_whatever_is_voted_the_result_holds_together(ballots):
    result = decide(ballots)
    assert len(result.stances) + len(result.silent) == len(ballots)
    assert (result.leader is None) == (result.status == "no_consensus")
    texts = {a.text for b in ballots for o in b.opinions for a in o.approaches}
    if result.leader is not None:
        assert result.quote is not None
        assert result.quote.text in texts
        backing = [s for s in result.stances if s.first == result.leader]
        assert len(backing) + len(result.dissent) == len(result.stances)
        assert result.support is not None
        assert 0 <= result.support <= 1


@given(BALLOTS, st.randoms())
def test_the_order_of_the_mentors_changes_nothing(ballots, random):
    shuffled = list(ballots)
    random.shuffle(shuffled)
    one, other = decide(ballots), decide(shuffled)
    assert (one.status, one.leader) == (other.status, other.leader)
    assert one.tally == other.tally
    assert one.points == pytest.approx(other.points)


@given(BALLOTS)
def test_an_unassailable_leader_stays_when_the_last_mentor_answers(ballots):
    families = {b.family for b in ballots if b.voting}
    if len(families) < len([b for b in ballots if b.voting]) or len(ballots) < 2:
        return
    early = [s for b in ballots[:-1] if (s := stance(b)) is not None]
    points = borda(early, vote_weights([s.ballot for s in early]))
    if unassailable(points, 1.0):
        final = decide(ballots, quorum=1)
        assert final.leader == max(points, key=lambda k: points[k])
