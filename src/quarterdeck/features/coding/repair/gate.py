"""Runs what the evidence needs: a fresh confirmation, line mutants, behaviour on many inputs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from quarterdeck.core.events import Json
from quarterdeck.features.coding.repair.board import Board
from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.evidence import (
    MUTANTS_MAX,
    Behaviour,
    Comparison,
    Facts,
    classify,
    clusters,
)
from quarterdeck.features.coding.repair.handover import unified_diff
from quarterdeck.features.coding.repair.judge import Judge, Kind
from quarterdeck.features.coding.repair.schedule import REMOVAL_SHARE
from quarterdeck.features.coding.repair.search import Found
from quarterdeck.features.coding.repair.source import FunctionNode, Source
from quarterdeck.features.coding.repair.templates import FAMILIES
from quarterdeck.features.coding.repair.templates.site import Site

_MUTATING = (
    "comparison", "constants", "arithmetic", "booleans", "offset", "names", "swaps", "synonyms",
    "slices", "returns", "attributes",
)  # fmt: skip
_WORD = {Kind.FAIL, Kind.BROKE, Kind.HANG, Kind.TIMEOUT, Kind.ERROR}


@dataclass(slots=True)
class Judged:
    """The chosen patch with what is known about it; `ranked` are all plausible ones, best first."""

    chosen: Found
    ranked: list[Found]
    evidence: dict[str, Json] = field(default_factory=dict)


class Gate:
    """Weighs the plausible patches of one search."""

    def __init__(
        self, judge: Judge, sources: Mapping[str, Source], board: Board, seed: int
    ) -> None:
        self._judge = judge
        self._sources = sources
        self._board = board
        self._seed = seed
        self._rivals_sought = True

    async def weigh(
        self, plausible: Sequence[Found], *, rivals_sought: bool = True
    ) -> Judged | None:
        """Choose among the plausible patches; None when none is confirmed by a fresh process."""
        self._board.message = "Weighing the evidence"
        self._rivals_sought = rivals_sought
        ranked = sorted(plausible, key=lambda found: -found.candidate.weight)
        behaviour = await self._observe([found.candidate.edit for found in ranked])
        ranked = by_cluster(ranked, behaviour)
        for found in ranked:
            confirmed = await self._confirmed(found)
            if confirmed is not False:
                evidence = await self._evidence(found, ranked, confirmed=confirmed is True)
                return Judged(found, ranked, evidence)
        return None

    async def _confirmed(self, found: Found) -> bool | None:
        """Whether a process that imports the patched file passes all tests; None without time."""
        if self._board.left_s <= 0:
            return None
        verdict = await self._judge.confirm(found.candidate.edit)
        if verdict.kind is Kind.BROKE:
            # A flaky test must not cost a right patch.
            verdict = await self._judge.confirm(found.candidate.edit)
        return None if verdict.kind is Kind.TIMEOUT else verdict.kind is Kind.PLAUSIBLE

    async def _evidence(
        self, chosen: Found, ranked: Sequence[Found], *, confirmed: bool
    ) -> dict[str, Json]:
        edit = chosen.candidate.edit
        patched = edit.apply(self._sources[edit.path].text)
        killed, survivors = await self._mutate_line(edit, patched)
        rivals = [found.candidate.edit for found in ranked if found is not chosen]
        behaviour = await self._observe([edit, *rivals], [(edit.path, text) for text in survivors])
        told = Comparison(behaviour, rivals=len(rivals), survivors=len(survivors))
        facts = Facts(
            family=edit.family,
            removal=edit.removal,
            flipped=chosen.verdict.flipped,
            covering=len(self._judge.covering(edit)),
            killed=killed,
            open=len(told.open),
            alike=len(survivors) - len(told.open),
            observed=told.observed,
            rival_clusters=told.rival_clusters,
            confirmed=confirmed,
            constant_passes=await self._constant_passes(edit, patched),
            rivals_sought=self._rivals_sought,
            accidental=self._judge.awaits_exception
            and not raises(Source(edit.path, patched), edit),
        )
        strength, doubts = classify(facts)
        diffs = [self._diff(one) for one in (edit, *rivals)]
        return {
            "class": strength.value,
            "doubts": doubts,
            "template": f"{edit.family}: {edit.rule}",
            "diff": diffs[0],
            "tests_flipped": facts.flipped,
            "passing_tests_on_the_line": facts.covering,
            "line_variations": {"fail": killed, "pass": facts.open, "alike": facts.alike},
            "inputs_compared": len(behaviour.inputs),
            "rivals": [
                {"diff": diff, "behaves_differently": told.differs(place)}
                for place, diff in enumerate(diffs[1:])
            ],
            "question": told.question(diffs),
            "confirmed": confirmed,
        }

    def _diff(self, edit: Edit) -> str:
        return unified_diff(edit, self._sources[edit.path].text)

    async def _mutate_line(self, edit: Edit, patched: str) -> tuple[int, list[str]]:
        """How many variations of the patched line fail a test; the texts of those that pass."""
        try:
            source = Source(edit.path, patched)
        except SyntaxError:
            return 0, []
        killed = 0
        survivors: list[str] = []
        for mutant in line_mutants(source, edit, self._sources[edit.path].text):
            if self._board.left_s <= 0:
                break
            verdict = await self._judge.judge_text(mutant, patched, again=True)
            killed += verdict.kind in _WORD
            if verdict.kind is Kind.PLAUSIBLE:
                survivors.append(mutant.apply(patched))
        return killed, survivors

    async def _constant_passes(self, edit: Edit, patched: str) -> bool:
        """Whether the tests would as well accept True or False for the patched condition."""
        source = Source(edit.path, patched)
        for mutant in constant_conditions(source, edit):
            if self._board.left_s <= 0:
                return True
            verdict = await self._judge.judge_text(mutant, patched, again=True)
            if verdict.kind is Kind.PLAUSIBLE:
                return True
        return False

    async def _observe(
        self, edits: Sequence[Edit], texts: Sequence[tuple[str, str]] = ()
    ) -> Behaviour:
        """What the versions do on the same inputs; empty where that cannot be watched."""
        if self._board.left_s <= 0 or len(edits) + len(texts) < 2:
            return Behaviour()
        versions = [(e.path, e.apply(self._sources[e.path].text)) for e in edits]
        places = {place for edit in edits if (place := self._function(edit)) is not None}
        return await self._judge.behave([*versions, *texts], sorted(places), self._seed)

    def _function(self, edit: Edit) -> tuple[str, str, int] | None:
        source = self._sources[edit.path]
        return source.outermost_function(source.line_of(edit.start))


def by_cluster(ranked: Sequence[Found], behaviour: Behaviour) -> list[Found]:
    """Best first: patches whose behaviour many plausible patches share come before loners."""
    if not behaviour.inputs:
        return list(ranked)
    mass: dict[int, float] = {}
    for group in clusters(behaviour, range(1, len(ranked) + 1)):
        total = sum(_weight(ranked[version - 1]) for version in group)
        mass.update(dict.fromkeys(group, total))
    order = sorted(
        range(1, len(ranked) + 1),
        key=lambda version: -(mass[version] + _weight(ranked[version - 1])),
    )
    return [ranked[version - 1] for version in order]


def _weight(found: Found) -> float:
    removal = found.candidate.edit.removal
    return found.candidate.weight * (REMOVAL_SHARE if removal else 1.0)


def _patched_statements(source: Source, edit: Edit) -> list[ast.stmt]:
    first = source.line_of(edit.start)
    last = source.line_of(max(edit.start, edit.start + len(edit.text) - 1))
    found = (s for line in range(first, last + 1) for s in source.statements_on(line))
    return list(dict.fromkeys(found))


def raises(source: Source, edit: Edit) -> bool:
    """Whether the patched statements, with what they hold, raise an exception themselves."""
    return any(
        isinstance(node, ast.Raise)
        for statement in _patched_statements(source, edit)
        if not isinstance(statement, FunctionNode | ast.ClassDef)
        for node in ast.walk(statement)
    )


def constant_conditions(source: Source, edit: Edit) -> Iterator[Edit]:
    """True and False in place of the conditions that the edit touches."""
    end = edit.start + len(edit.text)
    for statement in _patched_statements(source, edit):
        if isinstance(statement, ast.If | ast.While):
            start, stop = source.span(statement.test)
            if edit.start <= stop and start <= end and not isinstance(statement.test, ast.Constant):
                for value in ("True", "False"):
                    yield Edit(edit.path, start, stop, value, "constant condition", 0.5)


def line_mutants(source: Source, edit: Edit, original: str) -> Iterator[Edit]:
    """Variations of the patched lines, at most MUTANTS_MAX, drawn from many families in turn."""
    statements = _patched_statements(source, edit)
    makers = [
        family.propose(Site(source, statement))
        for statement in statements
        for family in FAMILIES
        if family.name in _MUTATING
    ]
    seen = {original, source.text}
    given = 0
    while makers and given < MUTANTS_MAX:
        for maker in list(makers):
            mutant = next(maker, None)
            if mutant is None:
                makers.remove(maker)
            elif (text := mutant.apply(source.text)) not in seen and not mutant.removal:
                seen.add(text)
                given += 1
                yield mutant
                if given >= MUTANTS_MAX:
                    return
