"""Judging one edit: which tests, how long, in which of the fork server's two tiers."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.forkserver_client import ForkServer
from quarterdeck.features.coding.repair.source import Source
from quarterdeck.features.coding.repair.spectrum import Spectrum
from quarterdeck.features.coding.repair.target import Target

_TIMEOUT_S = 0.7
_IMPORT_TIMEOUT_S = 6.0
_SLOWER = 4.0
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
    """One worker's judge, with a server that swaps code and, when needed, one that imports anew."""

    def __init__(
        self, target: Target, swap: ForkServer, spectrum: Spectrum, sources: Mapping[str, Source]
    ) -> None:
        self._target = target
        self._swap = swap
        self._import: ForkServer | None = None
        self._spectrum = spectrum
        self._sources = sources
        self._tests_s = sum(test.seconds for test in spectrum.tests)
        order = sorted(spectrum.failing, key=lambda index: spectrum.tests[index].seconds)
        self._failing = [i for i in order if not spectrum.tests[i].hung] + [
            i for i in order if spectrum.tests[i].hung
        ]

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
        lines = [(edit.path, line) for line in self._lines_of(edit, source, text)]
        others = self._spectrum.covering(lines)
        segment = source.segment_at(lines[0][1])
        patched = edit.apply(text)
        if segment is None or self._spectrum.uncollected:
            return await self._judge_import(edit, patched, patience)
        request = {
            "op": "try",
            "file": edit.path,
            "segment": list(segment),
            "text": segment_text(source, segment, patched),
            "failing": self._failing,
            "others": others,
            "events_max": self._events_max(source, lines[0][1]) if patience == 1.0 else None,
            "again": again,
            "timeout_s": self._timeout_s(others) * patience,
        }
        answer = await self._swap.ask(request)
        if answer.get("verdict") == "broke":
            # Tests may depend on each other's order: what counts is the order of the files.
            answer = await self._swap.ask(request | {"in_order": True, "again": True})
        if answer.get("verdict") == "cold":
            return await self._judge_import(edit, patched, patience)
        return _verdict(answer)

    @staticmethod
    def _lines_of(edit: Edit, source: Source, text: str) -> range:
        if text is source.text:
            last = max(edit.start, edit.end - 1)
            return range(source.line_of(edit.start), source.line_of(last) + 1)
        line = text.count("\n", 0, edit.start) + 1
        return range(line, line + 1 + text.count("\n", edit.start, edit.end))

    def _timeout_s(self, others: list[int]) -> float:
        tests = self._spectrum.tests
        failing_s = sum(tests[i].seconds for i in self._failing if not tests[i].hung)
        return _TIMEOUT_S + _SLOWER * (failing_s + sum(tests[i].seconds for i in others))

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
        if self._import is None:
            self._import = await self._target.start_server("import")
            await self._import.receive()
        tests = self._spectrum.tests
        others = [test for test in tests if test.passed and not test.skipped]
        failing = [tests[index].id for index in self._failing]
        must_collect = sorted(() if failing else self._spectrum.uncollected)
        files = sorted({name.split("::")[0] for name in failing} | set(must_collect))
        request = {
            "op": "try",
            "file": edit.path,
            "text": patched,
            "failing_ids": failing,
            "other_ids": [],
            "must_collect": must_collect,
            "files": files,
            "timeout_s": (_IMPORT_TIMEOUT_S + self._timeout_s([])) * patience,
        }
        verdict = replace(_verdict(await self._import.ask(request)), imported=True)
        if verdict.kind is not Kind.PLAUSIBLE or not others:
            return verdict
        # Code that runs at import can reach every test, so that all of them are asked.
        ids = [test.id for test in others]
        request |= {
            "other_ids": ids,
            "files": sorted({name.split("::")[0] for name in ids} | set(files)),
            "timeout_s": _IMPORT_TIMEOUT_S + _SLOWER * self._tests_s,
        }
        return replace(_verdict(await self._import.ask(request)), imported=True)

    async def stop(self) -> None:
        await self._swap.stop()
        if self._import is not None:
            await self._import.stop()


def segment_text(source: Source, segment: tuple[int, int], patched: str) -> str:
    """The lines of a definition after a patch inside it."""
    first, last = segment
    start = source.line_start(first)
    rest = len(source.text) - source.line_start(last) - len(source.line(last))
    return patched[start : len(patched) - rest]


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
