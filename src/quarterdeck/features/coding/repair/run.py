"""One repair from the copy of the project to the written patch or the handover."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from quarterdeck.core.errors import InvalidInput, NotFound, TooLarge, Unavailable
from quarterdeck.core.events import Json
from quarterdeck.features.coding.repair import schedule, suspects
from quarterdeck.features.coding.repair.board import Board
from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.forkserver_client import ForkServer
from quarterdeck.features.coding.repair.gate import Gate
from quarterdeck.features.coding.repair.handover import handover
from quarterdeck.features.coding.repair.judge import Judge
from quarterdeck.features.coding.repair.project import editable_files, pytest_command
from quarterdeck.features.coding.repair.schedule import Lane
from quarterdeck.features.coding.repair.search import Search
from quarterdeck.features.coding.repair.source import Source
from quarterdeck.features.coding.repair.spectrum import Spectrum, collect, measure
from quarterdeck.features.coding.repair.suspects import Suspect
from quarterdeck.features.coding.repair.target import Target, make_target
from quarterdeck.features.coding.repair.templates import FAMILIES
from quarterdeck.features.coding.repair.templates.site import Site
from quarterdeck.features.coding.repair.wanted import Constant, mentioned
from quarterdeck.features.coding.repair.writing import write_atomically

_IMPORT_SHARE = 0.5
"""Candidates that need a new import cost ten times as much, so that they wait."""
_UNSEEN_FILES_MAX = 4
_MEASURE_SHARE = 0.8
SEARCH_SHARE = 0.85
"""The share of the budget after which the search ends; the rest is for the evidence."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be repaired: the tree at `root`, judged by the test command `argv` with `env`.

    `scratch` is private room outside of the tree. `failing` are ids of tests that are red,
    `protected` globs of files that stay as they are. `budget_s` bounds the whole run.
    """

    root: Path
    scratch: Path
    argv: tuple[str, ...]
    env: Mapping[str, str]
    failing: tuple[str, ...]
    protected: tuple[str, ...]
    budget_s: float
    seed: int


@dataclass(frozen=True, slots=True)
class Result:
    """How a repair ended: whether the tree was changed, what is known, what is handed over."""

    changed: bool
    summary: str
    evidence: Mapping[str, Json] = field(default_factory=dict)
    handover: Mapping[str, Json] = field(default_factory=dict)


class Repair:
    """One run over one order; its figures are on the board."""

    def __init__(self, order: Order, board: Board, *, workers: int) -> None:
        self._order = order
        self._board = board
        self._workers = workers

    async def run(self) -> Result:
        """Repair, or say why not. The tree is touched only by the final write."""
        order = self._order
        try:
            command = pytest_command(order.argv, order.root)
            async with AsyncExitStack() as stack:
                stack.push_async_callback(
                    asyncio.to_thread, shutil.rmtree, order.scratch, ignore_errors=True
                )
                targets = [
                    await make_target(order.root, order.scratch, number, command, order.env)
                    for number in range(self._workers)
                ]
                return await self._repair(stack, targets)
        except (InvalidInput, NotFound, TooLarge, Unavailable) as error:
            return Result(False, str(error))

    async def _repair(self, stack: AsyncExitStack, targets: Sequence[Target]) -> Result:
        order, board = self._order, self._board
        try:
            async with asyncio.timeout(board.left_s * _MEASURE_SHARE):
                server = await targets[0].start_server("swap")
                stack.push_async_callback(server.stop)
                spectrum = await measure(
                    server, order.failing, budget_s=board.left_s, tell=board.tell
                )
        except TimeoutError:
            return Result(False, "Collecting and running the tests took too long for the budget.")
        if not spectrum.failing and not spectrum.uncollected:
            return Result(False, _nothing_fails(spectrum))
        board.failing = len(spectrum.failing)
        sources = await asyncio.to_thread(self._sources, targets[0].root, spectrum)
        ranked = suspects.rank(spectrum, sources)
        board.tell("Searching for a patch", {"suspects": len(ranked)})
        servers = [server, *await self._more_servers(stack, targets[1:])]
        judges = [
            Judge(target, one, spectrum, sources, left_s=lambda: board.left_s)
            for target, one in zip(targets, servers, strict=False)
        ]
        for judge in judges:
            stack.push_async_callback(judge.stop)
        wanted = await asyncio.to_thread(mentioned, targets[0].root, spectrum)
        lanes = list(_lanes(ranked, sources, spectrum, wanted))
        candidates = schedule.merge(lanes, order.seed)
        search = Search(candidates, board, until_s=order.budget_s * SEARCH_SHARE)
        await search.run(judges)
        return await self._conclude(judges[0], search, spectrum, ranked, sources)

    async def _more_servers(
        self, stack: AsyncExitStack, targets: Sequence[Target]
    ) -> list[ForkServer]:
        """Servers for the other workers; fewer when collecting takes them too long."""
        servers: list[ForkServer] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(self._board.left_s * _MEASURE_SHARE):
                for target in targets:
                    server = await target.start_server("swap")
                    stack.push_async_callback(server.stop)
                    await collect(server)
                    servers.append(server)
        return servers

    def _sources(self, root: Path, spectrum: Spectrum) -> dict[str, Source]:
        """The files that failing tests ran (or tracebacks name) and that may be edited."""
        files = editable_files(root, self._order.protected, spectrum.test_files)
        faults = [*spectrum.uncollected.values()]
        seen: set[str] = set()
        for index in spectrum.failing:
            test = spectrum.tests[index]
            seen.update(test.lines or ())
            faults += [test.fault] if test.fault else []
        seen.update(file for fault in faults for file, _, _ in fault.frames)
        if not seen & files.keys():
            # Nothing was seen to run: then it is what ran before, at import.
            seen.update(spectrum.imported)
        if not seen & files.keys():
            # Not even that: a process of the tests' own, so that small files are worth a try.
            small = sorted(files, key=lambda name: files[name].stat().st_size)
            seen.update(small[:_UNSEEN_FILES_MAX])
        found: dict[str, Source] = {}
        for name in sorted(seen & files.keys()):
            source = read_source(name, files[name])
            if source is not None:
                found[name] = source
        return found

    async def _conclude(
        self,
        judge: Judge,
        search: Search,
        spectrum: Spectrum,
        ranked: Sequence[Suspect],
        sources: Mapping[str, Source],
    ) -> Result:
        if not search.plausible:
            handed = handover(spectrum, ranked, sources, search.partial)
            summary = (
                f"No patch makes the failing tests pass: {self._board.tried} candidates tried, "
                f"stopped because {search.stopped_by}."
            )
            return Result(False, summary, handover=handed)
        gate = Gate(judge, sources, self._board, self._order.seed)
        judged = await gate.weigh(search.plausible, rivals_sought=search.rivals_sought)
        if judged is None:
            handed = handover(spectrum, ranked, sources, search.plausible[0])
            summary = "A patch passed the tests in place but not in a fresh process."
            return Result(False, summary, handover=handed)
        edit = judged.chosen.candidate.edit
        patched = edit.apply(sources[edit.path].text)
        place = self._order.root / edit.path
        await asyncio.to_thread(write_atomically, place, patched, before=sources[edit.path].text)
        evidence = judged.evidence | {"search": self._figures(search)}
        return Result(True, _summary(edit, sources, evidence), evidence=evidence)

    def _figures(self, search: Search) -> dict[str, Json]:
        cpu_ms = self._board.cpu_ms
        return {
            "candidates_tried": self._board.tried,
            "plausible": len(search.plausible),
            "stopped_by": search.stopped_by,
            "search_s": round(search.elapsed_s, 2),
            "first_patch_s": round(search.plausible[0].at_s, 2) if search.plausible else None,
            "cpu_ms_per_candidate_p50": round(median(cpu_ms), 2) if cpu_ms else None,
        }


def _summary(edit: Edit, sources: Mapping[str, Source], evidence: Mapping[str, Json]) -> str:
    line = sources[edit.path].line_of(edit.start)
    asked = " One question decides between rivals." if evidence["question"] else ""
    return (
        f"Changed {edit.path} line {line} ({edit.family}: {edit.rule}); "
        f"evidence {evidence['class']}.{asked}"
    )


def _nothing_fails(spectrum: Spectrum) -> str:
    ran = sum(test.passed is not None for test in spectrum.tests)
    return f"Nothing to repair: none of the {ran} tests that ran fails."


def read_source(name: str, path: Path) -> Source | None:
    """The parsed file; None when it is not UTF-8 Python of this version."""
    try:
        return Source(name, path.read_bytes().decode())
    except (SyntaxError, ValueError, RecursionError):
        return None


def _lanes(
    ranked: Sequence[Suspect],
    sources: Mapping[str, Source],
    spectrum: Spectrum,
    wanted: Sequence[Constant],
) -> Iterator[Lane]:
    faults = [f for i in spectrum.failing if (f := spectrum.tests[i].fault) is not None]
    faults += spectrum.uncollected.values()
    for suspect in ranked:
        source = sources[suspect.file]
        for statement in source.statements_on(suspect.line):
            site = Site(source, statement, tuple(faults), wanted)
            share = _IMPORT_SHARE if source.runs_at_import(statement) else 1.0
            for family in FAMILIES:
                yield Lane(
                    suspect.score * share, family.prior_max, lambda f=family, s=site: f.propose(s)
                )
