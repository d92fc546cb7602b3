"""Where the fault may be: Ochiai over covered lines, with a bonus for what tracebacks name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt

from quarterdeck.features.coding.repair.source import FunctionNode, Source
from quarterdeck.features.coding.repair.spectrum import Spectrum

_IDLE = ast.Pass | ast.Global | ast.Nonlocal | ast.Import | ast.ImportFrom
_FRAME_BONUS = (0.5, 0.3, 0.2)
_IMPORTED_SHARE = 0.6
_SIGNATURE_SHARE = 0.5
_CONDITION_SHARE = 0.9
_CALLED_AT_IMPORT_SHARE = 0.35
_RAN_AT_IMPORT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Suspect:
    """A statement (by its first line) with a score in (0, 1] and the reasons for it."""

    file: str
    line: int
    score: float
    why: str


def rank(spectrum: Spectrum, sources: Mapping[str, Source]) -> list[Suspect]:
    """Statements of the given sources, most suspicious first; the best has score 1.

    Ochiai (Abreu et al. 2006): `ef / sqrt(F * (ef + ep))`. The last three project frames of a
    traceback add to their line. Code that only runs at import inherits from the lines using it.
    """
    scores: dict[tuple[str, int], float] = {}
    reasons: dict[tuple[str, int], str] = {}
    for (file, line), score in _line_scores(spectrum).items():
        if (source := sources.get(file)) is not None:
            statement = source.statement_at(line)
            if statement is not None and not _is_idle(statement):
                _raise_to(scores, (file, statement.lineno), score)
    for key, bonus in _frame_bonuses(spectrum, sources):
        scores[key] = scores.get(key, 0.0) + bonus
        reasons[key] = "named in the traceback"
    for key, score in list(_from_bodies(scores, sources)):
        _raise_to(scores, key, score)
    imported = _imported(spectrum, sources, max(scores.values(), default=1.0))
    early = [item for item in imported if item[0] not in scores]
    for key, score, why in [*_inherited(scores, sources), *early]:
        if key not in scores:
            reasons[key] = why
        _raise_to(scores, key, score)
    if not scores:
        for key in _anywhere(sources):
            scores[key] = 1.0
            reasons[key] = "nothing was seen to run"
    best = max(scores.values(), default=1.0)
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [
        Suspect(file, line, score / best, reasons.get((file, line), "run by failing tests"))
        for (file, line), score in ranked
        if score > 0
    ]


def _anywhere(sources: Mapping[str, Source]) -> Iterator[tuple[str, int]]:
    for file, source in sources.items():
        for statement in source.statements:
            if not _is_idle(statement):
                yield file, statement.lineno


def _raise_to(scores: dict[tuple[str, int], float], key: tuple[str, int], score: float) -> None:
    scores[key] = max(scores.get(key, 0.0), score)


def _line_scores(spectrum: Spectrum) -> dict[tuple[str, int], float]:
    failing = [t for i in spectrum.failing if (t := spectrum.tests[i]).lines is not None]
    ef: dict[tuple[str, int], int] = {}
    for test in failing:
        for file, lines in (test.lines or {}).items():
            for line in lines:
                ef[file, line] = ef.get((file, line), 0) + 1
    ep = dict.fromkeys(ef, 0)
    for test in spectrum.tests:
        if test.passed and test.lines:
            for file, lines in test.lines.items():
                for line in lines:
                    if (file, line) in ep:
                        ep[file, line] += 1
    return {key: hits / sqrt(len(failing) * (hits + ep[key])) for key, hits in ef.items()}


def _is_idle(statement: ast.stmt) -> bool:
    """Statements no edit can improve: definitions, docstrings, imports, pass."""
    if isinstance(statement, FunctionNode | ast.ClassDef | _IDLE):
        return True
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _frame_bonuses(
    spectrum: Spectrum, sources: Mapping[str, Source]
) -> Iterator[tuple[tuple[str, int], float]]:
    faults = [spectrum.tests[index].fault for index in spectrum.failing]
    known = [fault for fault in [*faults, *spectrum.uncollected.values()] if fault is not None]
    for fault in known:
        frames = [(file, line) for file, line, _ in fault.frames if file in sources]
        for (file, line), bonus in zip(reversed(frames), _FRAME_BONUS, strict=False):
            statement = sources[file].statement_at(line)
            if statement is not None:
                yield (file, statement.lineno), bonus / len(known)


def _from_bodies(
    scores: Mapping[tuple[str, int], float], sources: Mapping[str, Source]
) -> Iterator[tuple[tuple[str, int], float]]:
    """A wrong condition shows in what it lets run: tests and loops inherit from their bodies."""
    for (file, line), score in scores.items():
        source = sources[file]
        statement = source.statement_at(line)
        parent = source.parent(statement) if statement is not None else None
        if isinstance(parent, ast.If | ast.While | ast.For) and (file, parent.lineno) in scores:
            yield (file, parent.lineno), score * _CONDITION_SHARE


def _imported(
    spectrum: Spectrum, sources: Mapping[str, Source], best: float
) -> Iterator[tuple[tuple[str, int], float, str]]:
    """What ran at import in the files under suspicion: functions called then, other statements."""
    for file, lines in spectrum.imported.items():
        source = sources.get(file)
        for line in sorted(lines) if source is not None else ():
            statement = source.statement_at(line) if source is not None else None
            if source is None or statement is None or _is_idle(statement):
                continue
            inside = source.function_of(statement) is not None
            share = _CALLED_AT_IMPORT_SHARE if inside else _RAN_AT_IMPORT_SHARE
            yield (file, statement.lineno), best * share, "runs at import"


def _inherited(
    scores: Mapping[tuple[str, int], float], sources: Mapping[str, Source]
) -> Iterator[tuple[tuple[str, int], float, str]]:
    """Module constants, class attributes and signatures that suspicious lines depend on."""
    for file, source in sources.items():
        lines = {line: score for (name, line), score in scores.items() if name == file}
        if not lines:
            continue
        used = _names_used(source, lines)
        for statement in source.statements:
            if not source.runs_at_import(statement):
                if isinstance(statement, FunctionNode):
                    yield from _signature(file, statement, lines)
                continue
            if isinstance(statement, FunctionNode):
                yield from _signature(file, statement, lines)
            elif share := max((used.get(name, 0.0) for name in _targets(statement)), default=0.0):
                key = (file, statement.lineno)
                yield key, share * _IMPORTED_SHARE, "evaluated at import, used by a suspect"


def _names_used(source: Source, lines: Mapping[int, float]) -> dict[str, float]:
    used: dict[str, float] = {}
    for line, score in lines.items():
        statement = source.statement_at(line)
        if statement is None:
            continue
        for node in source.header_nodes(statement):
            name = getattr(node, "id", None) or getattr(node, "attr", None)
            if isinstance(name, str):
                used[name] = max(used.get(name, 0.0), score)
    return used


def _targets(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.Assign(targets=targets):
            return [t.id for t in targets if isinstance(t, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            return [name]
        case _:
            return []


def _signature(
    file: str, function: FunctionNode, lines: Mapping[int, float]
) -> Iterator[tuple[tuple[str, int], float, str]]:
    assert function.end_lineno is not None, "parsed nodes know their end"
    inside = [
        score for line, score in lines.items() if function.lineno < line <= function.end_lineno
    ]
    if inside and (function.args.defaults or function.args.kw_defaults or function.decorator_list):
        yield (file, function.lineno), max(inside) * _SIGNATURE_SHARE, "signature of a suspect"
