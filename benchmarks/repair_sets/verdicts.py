"""Judging a repaired tree: hidden tests, the whole suite in a fresh process, and equal behaviour."""

from __future__ import annotations

import ast
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.repair_sets import suite
from benchmarks.repair_sets.bug import Bug
from benchmarks.repair_sets.packages import import_path
from quarterdeck.features.coding.repair.judge import Judge
from quarterdeck.features.coding.repair.project import pytest_command
from quarterdeck.features.coding.repair.source import Source
from quarterdeck.features.coding.repair.spectrum import Spectrum, collect, trace_passing
from quarterdeck.features.coding.repair.target import make_target


@dataclass(frozen=True, slots=True)
class Outcome:
    """How good a patch is.

    `passes`: every test that the right program passes, hidden ones too. `identical`: the same
    syntax tree. `alike`: no difference on recorded and varied inputs; None when not comparable.
    """

    passes: bool
    identical: bool
    alike: bool | None

    @property
    def right(self) -> bool:
        return self.passes and (self.identical or self.alike is True)


async def verdict(bug: Bug, patched: str) -> Outcome:
    """Judge the text that a repair left in the bug's file."""
    identical = ast.dump(ast.parse(patched)) == ast.dump(ast.parse(bug.right_text))
    with tempfile.TemporaryDirectory() as scratch:
        tree = suite.copy(bug.original, Path(scratch) / "tree")
        (tree / bug.file).write_bytes(patched.encode())
        outcomes = suite.run(tree) or {}
        passes = all(outcomes.get(test, False) for test in bug.passing)
        alike = True if identical else await _alike(bug, patched, tree, Path(scratch))
    return Outcome(passes, identical, alike)


async def _alike(bug: Bug, patched: str, tree: Path, scratch: Path) -> bool | None:
    """Whether patched and right program do the same on what the whole suite passes in."""
    right = Source(bug.file, bug.right_text)
    command = pytest_command(suite.pytest_argv(), tree)
    right_tree = suite.copy(bug.original, scratch / "right")
    env = {"PYTHONPATH": import_path(tree)}
    target = await make_target(right_tree, scratch / "work", 0, command, env)
    server = await target.start_server("swap")
    try:
        spectrum: Spectrum = await collect(server)
        for test in spectrum.tests:
            test.passed = bug.passing.get(test.id)
        judge = Judge(target, server, spectrum, {bug.file: right}, left_s=lambda: 60.0)
        places = _functions(right, patched)
        spectrum.entered = {*places}
        await trace_passing(server, spectrum, 30.0, lambda *_: None)
        behaviour = await judge.behave([(bug.file, patched)], places, 0)
    finally:
        await server.stop()
    if not behaviour.inputs or not behaviour.shows(1):
        return None
    return not behaviour.differs(0, 1)


def _functions(right: Source, patched: str) -> list[tuple[str, str, int]]:
    """The functions of the right text that lie where the two texts differ."""
    mine, theirs = right.text.split("\n"), patched.split("\n")
    first = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), 0) + 1
    tail = next(
        (i for i, (a, b) in enumerate(zip(mine[::-1], theirs[::-1], strict=False)) if a != b), 0
    )
    last = max(first, len(mine) - tail)
    places = (right.outermost_function(line) for line in range(first, last + 1))
    return sorted({place for place in places if place is not None})
