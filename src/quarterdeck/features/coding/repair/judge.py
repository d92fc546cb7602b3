"""Judging one edit: which tests, how long, in which of the fork server's two tiers."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.evidence import Behaviour
from quarterdeck.features.coding.repair.forkserver_client import ForkServer
from quarterdeck.features.coding.repair.source import Source
from quarterdeck.features.coding.repair.spectrum import Spectrum
from quarterdeck.features.coding.repair.target import Target

_CPU_S = 0.5
_IMPORT_CPU_S = 5.0
_SLOWER = 4.0
_WALL_FACTOR = 4.0
_WALL_S = 2.0
_PATIENCE = 3.0
_TESTS_WATCHED = 80
_SAMPLES = 30
_VERSION_S = 2.0
_BEHAVE_S = 8.0
_HANG_EVENTS = 100_000
_HANG_FACTOR = 20


class Kind(StrEnum):
    """What became of a candidate."""

    PLAUSIBLE = "plausible"
    FAIL = "fail"
    BROKE = "broke"
    HANG = "hang"
    TIMEOUT = "timeout"
    SAME = "same"
    SYNTAX = "syntax"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one candidate: failing tests it made pass, CPU and wall time in ms."""

    kind: Kind
    flipped: int = 0
    cpu_ms: float | None = None
    ms: float | None = None
    imported: bool = False


class Judge:
    """One worker's judge, with a server that swaps code and, when needed, one that imports anew.

    `left_s` tells the seconds left of the budget, which bounds each request.
    """

    def __init__(
        self,
        target: Target,
        swap: ForkServer,
        spectrum: Spectrum,
        sources: Mapping[str, Source],
        *,
        left_s: Callable[[], float],
    ) -> None:
        self._target = target
        self._swap = swap
        self._import: ForkServer | None = None
        self._spectrum = spectrum
        self._sources = sources
        self._left_s = left_s
        # Where no failing test runs a line that we see, processes of their own must run them.
        self._blind = not any(
            file in sources for i in spectrum.failing for file in spectrum.tests[i].lines or ()
        )
        # In the order of the files, for tests may depend on it; but what hung comes last.
        self._failing = sorted(spectrum.failing, key=lambda i: (spectrum.tests[i].hung, i))

    async def judge(self, edit: Edit, *, patience: float = 1.0, again: bool = False) -> Verdict:
        """Try an edit on the project as it is.

        `patience` multiplies the time allowed; `again` judges even what was tried before.
        """
        source = self._sources[edit.path]
        return await self.judge_text(edit, source.text, patience=patience, again=again)

    async def judge_text(
        self, edit: Edit, text: str, *, patience: float = 1.0, again: bool = False
    ) -> Verdict:
        """Try an edit on `text`, which differs from the file only inside the same definition."""
        source = self._sources[edit.path]
        patched = edit.apply(text)
        first = _first_difference(source, patched)
        last = max(first, source.line_of(max(edit.start, edit.end - 1)))
        whole = range(first, (last if text is source.text else first) + 1)
        others = self._spectrum.covering([(edit.path, line) for line in whole])
        segment = source.segment_at(first)
        early = first in self._spectrum.imported.get(edit.path, ())
        only_early = early and not any(
            self._spectrum.runs_in_tests(edit.path, line) for line in whole
        )
        if segment is None or self._spectrum.uncollected or only_early or self._blind:
            return await self._judge_import(edit, patched, patience)
        request = {
            "op": "try",
            "file": edit.path,
            "segment": list(segment),
            "text": segment_text(source, segment, patched),
            "failing": self._failing,
            "others": others,
            "events_max": self._events_max(source, first) if patience == 1.0 else None,
            "again": again,
            **self._time(others, patience),
        }
        answer = await self._swap.ask(request)
        if answer.get("verdict") == "broke" or _is_partial(answer):
            # Tests may depend on each other's order: what counts is the order of the files.
            partial = answer
            answer = await self._swap.ask(request | {"in_order": True, "again": True})
            if answer.get("verdict") != "plausible":
                answer = partial
        if _is_partial(answer):
            return await self._judge_partial(edit, patched, _verdict(answer))
        if answer.get("verdict") == "cold":
            return await self._judge_import(edit, patched, patience)
        return _verdict(answer)

    async def _judge_partial(self, edit: Edit, patched: str, partial: Verdict) -> Verdict:
        """A test that starts a process of its own sees only a patch that is in the file."""
        whole = await self._judge_import(edit, patched, 1.0)
        return whole if whole.kind is Kind.PLAUSIBLE else partial

    def _time(
        self, others: Sequence[int], patience: float = 1.0, start_s: float = _CPU_S
    ) -> dict[str, float]:
        """CPU seconds for the failing tests and `others`; wall time only stops what sleeps."""
        tests = self._spectrum.tests
        usual_s = sum(tests[i].seconds for i in self._failing if not tests[i].hung)
        usual_s += sum(tests[i].seconds for i in others)
        cpu_s = (start_s + _SLOWER * usual_s) * patience
        wall_s = min(_WALL_S + _WALL_FACTOR * cpu_s, max(self._left_s(), _WALL_S))
        return {"cpu_s": min(cpu_s, wall_s), "timeout_s": wall_s}

    def _events_max(self, source: Source, line: int) -> int | None:
        """A bound on line events where the code around could loop for ever."""
        hung = any(self._spectrum.tests[index].hung for index in self._failing)
        statement = source.statement_at(line)
        function = source.function_of(statement) if statement is not None else None
        loops = function is not None and any(isinstance(n, ast.While) for n in ast.walk(function))
        if not (hung or loops):
            return None
        events = [test.events for test in self._spectrum.tests if test.passed]
        return _HANG_EVENTS + _HANG_FACTOR * max(events, default=0)

    async def _judge_import(self, edit: Edit, patched: str, patience: float) -> Verdict:
        """The failing tests in a process that imports the patched file; if they pass, all."""
        failing = [self._spectrum.tests[index].id for index in self._failing]
        must_collect = sorted(() if failing else self._spectrum.uncollected)
        first = await self._ask_import(edit.path, patched, failing, must_collect, patience)
        if first.kind is not Kind.PLAUSIBLE:
            return first
        # Code that runs at import can reach every test, so that all of them are asked.
        return await self._confirm_text(edit.path, patched, patience)

    async def confirm(self, edit: Edit) -> Verdict:
        """Judge an edit by all tests, in file order, in a process that imports the patched file."""
        patched = edit.apply(self._sources[edit.path].text)
        return await self._confirm_text(edit.path, patched, _PATIENCE)

    async def _confirm_text(self, path: str, patched: str, patience: float) -> Verdict:
        tests = self._spectrum.tests
        must_pass = {i for i, test in enumerate(tests) if test.passed and not test.skipped}
        ids = [tests[index].id for index in sorted(must_pass | set(self._failing))]
        must_collect = sorted(() if self._failing else self._spectrum.uncollected)
        verdict = await self._ask_import(path, patched, ids, must_collect, patience)
        flipped = max(1, len(self._failing)) if verdict.kind is Kind.PLAUSIBLE else 0
        return replace(verdict, flipped=flipped)

    async def _ask_import(
        self,
        path: str,
        patched: str,
        ids: Sequence[str],
        must_collect: Sequence[str],
        patience: float,
    ) -> Verdict:
        if self._import is None:
            self._import = await self._target.start_server("import")
            await self._import.receive()
        indices = range(len(self._spectrum.tests))
        request = {
            "op": "try",
            "file": path,
            "text": patched,
            "ids": list(ids),
            "must_collect": list(must_collect),
            "files": sorted({name.split("::")[0] for name in ids} | set(must_collect)),
            **self._time(indices if len(ids) > len(self._failing) else [], patience, _IMPORT_CPU_S),
        }
        return replace(_verdict(await self._import.ask(request)), imported=True)

    @property
    def awaits_exception(self) -> bool:
        """Whether a failing test waits in vain for an exception."""
        return self._spectrum.awaits_exception

    def covering(self, edit: Edit) -> list[int]:
        """The passing tests that run the edited lines."""
        source = self._sources[edit.path]
        last = source.line_of(max(edit.start, edit.end - 1))
        lines = range(source.line_of(edit.start), last + 1)
        return self._spectrum.covering([(edit.path, line) for line in lines])

    async def behave(
        self,
        versions: Sequence[tuple[str, str]],
        functions: Sequence[tuple[str, str, int]],
        seed: int,
    ) -> Behaviour:
        """What patched texts (path, text) do on the arguments that tests pass to the functions."""
        patches = []
        for path, text in versions:
            source = self._sources[path]
            segment = source.segment_at(_first_difference(source, text))
            if segment is None or self._spectrum.uncollected:
                return Behaviour()
            content = segment_text(source, segment, text)
            patches.append({"file": path, "segment": list(segment), "text": content})
        lines = [(path, line) for path, _, first in functions for line in self._body(path, first)]
        tests = sorted({*self._failing, *self._spectrum.covering(lines)})[:_TESTS_WATCHED]
        request = {
            "op": "behave",
            "functions": [list(function) for function in functions],
            "patches": patches,
            "tests": [i for i in tests if not self._spectrum.tests[i].hung],
            "samples": _SAMPLES,
            "seed": seed,
            "version_s": _VERSION_S,
            "timeout_s": min(_BEHAVE_S, max(self._left_s(), _WALL_S)),
        }
        inputs: list[tuple[str, str]] = []
        recorded = 0
        outputs: list[tuple[str, ...] | None] = []
        async for message in self._swap.stream(request):
            if message["event"] == "inputs":
                inputs = [(function, arguments) for function, arguments in message["inputs"]]
                recorded = message["recorded"]
            elif message["event"] == "outputs":
                told = message["outputs"]
                outputs.append(None if told is None else tuple(told))
        if len(outputs) != len(versions) + 1:
            return Behaviour()
        return Behaviour(tuple(inputs), recorded, tuple(outputs))

    def _body(self, path: str, first: int) -> range:
        source = self._sources[path]
        statement = source.statement_at(first)
        end = statement.end_lineno if statement is not None else None
        return range(first + 1, (end or first) + 1)

    async def stop(self) -> None:
        await self._swap.stop()
        if self._import is not None:
            await self._import.stop()


def _first_difference(source: Source, text: str) -> int:
    """The line (from 1) on which a text begins to differ from the source."""
    for index, (one, other) in enumerate(zip(source.text, text, strict=False)):
        if one != other:
            return source.line_of(index)
    return source.line_of(min(len(source.text), len(text)) - 1)


def segment_text(source: Source, segment: tuple[int, int], patched: str) -> str:
    """The lines of a definition after a patch inside it."""
    first, last = segment
    start = source.line_start(first)
    rest = len(source.text) - source.line_start(last) - len(source.line(last))
    return patched[start : len(patched) - rest]


def _is_partial(answer: Mapping[str, object]) -> bool:
    return answer.get("verdict") == "fail" and bool(answer.get("flipped"))


def _verdict(answer: Mapping[str, object]) -> Verdict:
    kind = answer.get("verdict")
    flipped, cpu_ms, ms = (answer.get(name) for name in ("flipped", "cpu_ms", "ms"))
    if kind is None:
        kind = Kind.TIMEOUT if answer.get("timed_out") else Kind.ERROR
    return Verdict(
        Kind(str(kind)),
        flipped if isinstance(flipped, int) else 0,
        cpu_ms if isinstance(cpu_ms, float) else None,
        ms if isinstance(ms, float) else None,
    )
