"""Turns independent opinions into one result with its tally and its dissent (ORC-4).

Mentors vote; they do not debate: for small models debate lowers accuracy (arXiv 2510.05077) and
voting carries most of its gain (arXiv 2508.17536). Ballots are ranked (arXiv 2505.10772). Models
that err together pick the same wrong answer about 60 % of the time (arXiv 2506.07962), so mentors
of one family count as less than one vote each. No number here is a probability of being right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from quarterdeck.core.events import Json
from quarterdeck.features.mentors.opinion import ApproachKind, Opinion, Risk
from quarterdeck.features.mentors.similarity import Medoid, Vectors, medoid

SAME_WRONG = 0.6
"""How often two models that are both wrong give the same answer (arXiv 2506.07962)."""
POINTS = (3, 2, 1)
"""Borda points by rank; an approach that is not listed gets none."""
QUORUM = 2
_AGREES_PERCENT = 50

Vote = TypeVar("Vote", bound=str)


@dataclass(frozen=True, slots=True)
class Ballot:
    """What one mentor handed in: its usable samples, or the reason why there are none.

    `weight` is 1.0 until past outcomes say otherwise.
    """

    model: str
    family: str
    opinions: tuple[Opinion, ...] = ()
    error: str | None = None
    weight: float = 1.0
    demonstration: bool = False

    @property
    def voting(self) -> tuple[Opinion, ...]:
        """The samples that do not abstain, when they are the greater part."""
        cast = tuple(opinion for opinion in self.opinions if not opinion.abstain)
        return cast if 2 * len(cast) > len(self.opinions) else ()

    @property
    def abstained(self) -> bool:
        return bool(self.opinions) and not self.voting


@dataclass(frozen=True, slots=True)
class Stance:
    """Where one mentor stands after its own samples were counted.

    `agreement` is the share of its samples with the same first choice, None for a single sample.
    """

    ballot: Ballot
    ranking: tuple[ApproachKind, ...]
    opinion: Opinion
    agreement: float | None

    @property
    def first(self) -> ApproachKind:
        return self.ranking[0]


@dataclass(frozen=True, slots=True)
class Consensus:
    """The result of a round table.

    `status` is `consensus` (more than half of the voting weight ranks the leader first), `leaning`
    (it leads by points only) or `no_consensus` (quorum missing, or a tie: see `reason`).
    `weights` and `points` let anybody count again.
    """

    status: str
    reason: str
    leader: ApproachKind | None
    tally: str
    stances: tuple[Stance, ...]
    silent: tuple[Ballot, ...]
    weights: Mapping[str, float]
    points: Mapping[str, float]
    support: float | None
    quote: Medoid | None
    n_effective: float | None

    @property
    def dissent(self) -> tuple[Stance, ...]:
        """The mentors whose first choice is another one, when there is a leader."""
        if self.leader is None:
            return ()
        return tuple(stance for stance in self.stances if stance.first != self.leader)


def decide(
    ballots: Sequence[Ballot],
    *,
    quorum: int = QUORUM,
    rho: float | None = None,
    vectors: Vectors | None = None,
) -> Consensus:
    """Count the ballots.

    `rho` is the measured correlation of the mentors' mistakes (None: unknown), `vectors` embeds
    texts for the choice of the quotation (None: token sets are compared).
    """
    stances = tuple(s for ballot in ballots if (s := stance(ballot)) is not None)
    silent = tuple(b for b in ballots if not b.voting)
    weights = vote_weights([s.ballot for s in stances])
    points = borda(stances, weights)
    leader, tie = _leader(stances, weights, points)
    firm = leader if len(stances) >= quorum else None
    support = _support(stances, weights, firm)
    status, reason = _status(len(stances), quorum, tie, support)
    return Consensus(
        status=status,
        reason=reason,
        leader=firm,
        tally=tally_text(stances, silent, firm),
        stances=stances,
        silent=silent,
        weights=weights,
        points={kind.value: value for kind, value in points.items()},
        support=support,
        quote=_quote(stances, firm, vectors),
        n_effective=n_effective(len(stances), rho),
    )


def stance(ballot: Ballot) -> Stance | None:
    """The mentor's own position: Borda over its samples, then the sample that fits it best."""
    opinions = ballot.voting
    if not opinions:
        return None
    counted: Counter[ApproachKind] = Counter()
    for opinion in opinions:
        for kind, value in zip(opinion.ranking(), POINTS, strict=False):
            counted[kind] += value
    firsts = Counter(opinion.first.kind for opinion in opinions)
    order = {kind: place for place, kind in enumerate(counted)}
    ranking = tuple(sorted(counted, key=lambda k: (-counted[k], -firsts[k], order[k])))
    chosen = next((o for o in opinions if o.first.kind == ranking[0]), opinions[0])
    agreement = firsts[ranking[0]] / len(opinions) if len(opinions) > 1 else None
    return Stance(ballot, ranking[: len(POINTS)], chosen, agreement)


def vote_weights(ballots: Sequence[Ballot]) -> dict[str, float]:
    """Each mentor's weight: its own, shared with its family.

    n mentors of one family weigh 1 + (n - 1) · (1 - SAME_WRONG) together.
    """
    members = Counter(ballot.family for ballot in ballots)
    return {
        ballot.model: ballot.weight
        * (1 + (members[ballot.family] - 1) * (1 - SAME_WRONG))
        / members[ballot.family]
        for ballot in ballots
    }


def borda(stances: Sequence[Stance], weights: Mapping[str, float]) -> dict[ApproachKind, float]:
    """Weighted points of each approach over all mentors."""
    points: dict[ApproachKind, float] = {}
    for one in stances:
        for kind, value in zip(one.ranking, POINTS, strict=False):
            points[kind] = points.get(kind, 0.0) + value * weights[one.ballot.model]
    return {kind: _rounded(value) for kind, value in points.items()}


def unassailable(points: Mapping[ApproachKind, float], weight_left: float) -> bool:
    """Whether the leader stays first whatever the mentors still to come answer.

    At worst they all rank the strongest rival first and leave the leader out.
    """
    if not points:
        return False
    ranked = sorted(points.values(), reverse=True)
    rival = ranked[1] if len(ranked) > 1 else 0.0
    return ranked[0] > rival + POINTS[0] * weight_left


def n_effective(n: int, rho: float | None) -> float | None:
    """How many independent mentors `n` correlated ones are worth; None while rho is unknown."""
    return None if rho is None or n == 0 else n / (1 + (n - 1) * rho)


def tally_text(
    stances: Sequence[Stance], silent: Sequence[Ballot], leader: ApproachKind | None
) -> str:
    """What a person reads: "2 of 3 mentors, 2 families"."""
    n = len(stances)
    missing = f" ({len(silent)} of {n + len(silent)} asked gave no vote)" if silent else ""
    if leader is None:
        return f"no consensus among {n} {_noun(n, 'mentor')}{missing}"
    backing = [one for one in stances if one.first == leader]
    families = len({one.ballot.family for one in backing})
    return (
        f"{len(backing)} of {n} {_noun(n, 'mentor')}{missing}, "
        f"{families} {_noun(families, 'family')}"
    )


def majority(votes: Sequence[tuple[Vote, float]]) -> Vote | None:
    """The value with the most weight, or None without votes or on a tie."""
    counted: dict[Vote, float] = {}
    for value, weight in votes:
        counted[value] = counted.get(value, 0.0) + weight
    ranked = sorted(
        ((value, _rounded(weight)) for value, weight in counted.items()), key=lambda pair: -pair[1]
    )
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def gravest(risks: Sequence[Risk]) -> Risk | None:
    """The highest risk that anybody sees: a warning is not voted away."""
    order = list(Risk)
    return max(risks, key=order.index, default=None)


def _leader(
    stances: Sequence[Stance],
    weights: Mapping[str, float],
    points: Mapping[ApproachKind, float],
) -> tuple[ApproachKind | None, tuple[ApproachKind, ...]]:
    """The approach with the most points, then the most first places; else those that tie."""
    firsts = {k: _first_weight(stances, weights, k) for k in points}
    ranked = sorted(points, key=lambda k: (-points[k], -firsts[k], k.value))
    if not ranked:
        return None, ()
    best = ranked[0]
    tied = tuple(k for k in ranked if (points[k], firsts[k]) == (points[best], firsts[best]))
    return (best, ()) if len(tied) == 1 else (None, tied)


def _first_weight(
    stances: Sequence[Stance], weights: Mapping[str, float], kind: ApproachKind
) -> float:
    return _rounded(sum(weights[one.ballot.model] for one in stances if one.first == kind))


def _support(
    stances: Sequence[Stance], weights: Mapping[str, float], leader: ApproachKind | None
) -> float | None:
    if leader is None:
        return None
    return _first_weight(stances, weights, leader) / _rounded(sum(weights.values()))


def _status(
    voters: int, quorum: int, tie: Sequence[ApproachKind], support: float | None
) -> tuple[str, str]:
    if voters < quorum:
        reason = f"Quorum missing: {voters} {_noun(voters, 'mentor')} voted, {quorum} are needed."
        return "no_consensus", reason
    if support is None:
        return "no_consensus", f"A tie: {', '.join(kind.value for kind in tie)}."
    if 100 * support > _AGREES_PERCENT + 1e-9:
        return "consensus", "More than half of the votes rank it first."
    return "leaning", "It leads by points; no majority ranks it first."


def _quote(
    stances: Sequence[Stance], leader: ApproachKind | None, vectors: Vectors | None
) -> Medoid | None:
    if leader is None:
        return None
    texts = [
        (one.ballot.model, approach.text)
        for one in stances
        for opinion in one.ballot.voting
        for approach in opinion.approaches
        if approach.kind == leader
    ]
    return medoid(texts, vectors)


def _rounded(weight: float) -> float:
    """Without the noise of adding fractions in this or that order: it must decide nothing."""
    return round(weight, 9)


def _noun(n: int, noun: str) -> str:
    if n == 1:
        return noun
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def consensus_json(result: Consensus) -> dict[str, Json]:
    """The result as it is stored; every recommendation and dissent is verbatim."""
    return {
        "status": result.status,
        "reason": result.reason,
        "tally": result.tally,
        "approach": result.leader.value if result.leader else None,
        "quote": result.quote.as_json() if result.quote else None,
        "root_cause": _voted_cause(result),
        "risk": _gravest_risk(result),
        "files": _named(result, "files"),
        "tests": _named(result, "tests"),
        "points": dict(result.points),
        "weights": dict(result.weights),
        "support": result.support,
        "n_eff": result.n_effective,
    }


def _voted_cause(result: Consensus) -> str | None:
    votes = [
        (one.opinion.root_cause.kind, result.weights[one.ballot.model]) for one in result.stances
    ]
    cause = majority(votes)
    return cause.value if cause else None


def _gravest_risk(result: Consensus) -> str | None:
    risk = gravest([one.opinion.risk for one in result.stances])
    return risk.value if risk else None


def _named(result: Consensus, field: str) -> list[Json]:
    """Everything that the mentors name, most named first, with the number of mentors."""
    counted = Counter(
        name for one in result.stances for name in dict.fromkeys(getattr(one.opinion, field))
    )
    ranked = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"name": name, "mentors": n} for name, n in ranked[:8]]


def recommendation(one: Stance) -> dict[str, Json]:
    """One mentor's own position, for the summary and the page."""
    return {
        "model": one.ballot.model,
        "family": one.ballot.family,
        "demonstration": one.ballot.demonstration,
        "approach": one.first.value,
        "ranking": [kind.value for kind in one.ranking],
        "text": one.opinion.first.text,
        "root_cause": one.opinion.root_cause.model_dump(mode="json"),
        "risk": one.opinion.risk.value,
        "samples": len(one.ballot.opinions),
        "agreement": one.agreement,
    }
