"""The rate of the model-free repairer on seeded bugs and on human changes of real libraries.

    python -m benchmarks.repair --set mutants --n 30 --seed 1 --budget-s 60

Prints a table and, last, one line of JSON. Sets are made at run time from package archives.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import median

from benchmarks.repair_sets import suite
from benchmarks.repair_sets.bug import Bug
from benchmarks.repair_sets.human import human
from benchmarks.repair_sets.mutants import CHANGING, OPERATORS, mutants
from benchmarks.repair_sets.packages import environment, import_path
from benchmarks.repair_sets.verdicts import Outcome, verdict
from quarterdeck.core.events import Json
from quarterdeck.features.coding.commands import Command, Commands
from quarterdeck.features.coding.implementers.port import Finished, Status, Task
from quarterdeck.features.coding.implementers.repair import RepairImplementer

GOALS = {
    "mutants_right": 0.70,
    "human_right": 0.20,
    "wrong_among_strong_max": 0.05,
    "cpu_ms_per_candidate_p50_max": 15.0,
}
QUIXBUGS = "not obtainable: no registry package carries it, and this benchmark clones nothing"


@dataclass(slots=True)
class Row:
    """One bug with what came of it."""

    bug: Bug
    finished: Finished | None
    outcome: Outcome | None
    seconds: float
    evidence: dict[str, Json] = field(default_factory=dict)

    @property
    def strong(self) -> bool:
        return self.evidence.get("class") == "strong"

    @property
    def right(self) -> bool:
        return self.outcome is not None and self.outcome.right


async def repair(bug: Bug, budget_s: float, seed: int) -> Row:
    """Let the repairer work on one bug, its hidden tests deselected, and judge the result."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        tree = suite.copy(bug.original, Path(scratch) / bug.original.name)
        (tree / bug.file).write_bytes(bug.text.encode())
        command = Command(
            tuple(suite.pytest_argv(bug.hidden)),
            "benchmark",
            env={"PYTHONPATH": import_path(tree)},
        )
        work = Path(scratch) / "work"
        work.mkdir()
        task = Task(
            mission_id=bug.name,
            brief="The failing tests must pass.",
            path=tree,
            work_dir=work,
            commands=Commands("python", test=command),
            failing=tuple(test for test in bug.failing if test not in bug.hidden),
            budget_s=budget_s,
            seed=seed,
        )
        finished = None
        async for event in RepairImplementer().run(task):
            if isinstance(event, Finished):
                finished = event
        seconds = time.monotonic() - start
        if finished is None or finished.status is not Status.CHANGED:
            return Row(bug, finished, None, seconds)
        changed = [p for p in tree.rglob("*.py") if _differs(p, tree, bug)]
        assert len(changed) == 1, "a repair changes exactly one file"
        if changed[0] != tree / bug.file:
            return Row(bug, finished, await _elsewhere(bug, tree), seconds, dict(finished.evidence))
        outcome = await verdict(bug, (tree / bug.file).read_bytes().decode())
        return Row(bug, finished, outcome, seconds, dict(finished.evidence))


def _differs(path: Path, tree: Path, bug: Bug) -> bool:
    relative = path.relative_to(tree).as_posix()
    before = bug.text.encode() if relative == bug.file else (bug.original / relative).read_bytes()
    return path.read_bytes() != before


async def _elsewhere(bug: Bug, tree: Path) -> Outcome:
    """A patch in another file than the bug's: judged by the suite, never counted as right."""
    outcomes = await asyncio.to_thread(suite.run, tree) or {}
    passes = all(outcomes.get(test, False) for test in bug.passing)
    return Outcome(passes, identical=False, alike=None)


def wilson(hits: int, n: int) -> tuple[float, float] | None:
    """The 95 % score interval of a share (Wilson 1927); None for an empty sample."""
    if not n:
        return None
    z, share = 1.96, hits / n
    middle = share + z * z / (2 * n)
    spread = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return round((middle - spread) / (1 + z * z / n), 3), round(
        (middle + spread) / (1 + z * z / n), 3
    )


def figures(name: str, rows: list[Row]) -> dict[str, Json]:
    """The published figures of one set."""
    n = len(rows)
    strong = [row for row in rows if row.strong]
    right = sum(row.right for row in rows)
    wrong_strong = sum(not row.right for row in strong)
    failing_strong = sum(not (row.outcome and row.outcome.passes) for row in strong)
    search = [row.evidence["search"] for row in rows if row.evidence]
    cpu = [s["cpu_ms_per_candidate_p50"] for s in search if s["cpu_ms_per_candidate_p50"]]
    return {
        f"{name}_n": n,
        f"{name}_patched": sum(row.outcome is not None for row in rows),
        f"{name}_passes_hidden_and_suite": sum(
            bool(row.outcome and row.outcome.passes) for row in rows
        ),
        f"{name}_right": round(right / n, 3) if n else None,
        f"{name}_right_count": right,
        f"{name}_right_wilson95": wilson(right, n),
        f"{name}_strong": len(strong),
        f"{name}_wrong_among_strong": wrong_strong,
        f"{name}_wrong_among_strong_wilson95": wilson(wrong_strong, len(strong)),
        f"{name}_strong_failing_hidden_or_suite": failing_strong,
        f"{name}_seconds_p50": round(median([row.seconds for row in rows]), 1) if rows else None,
        f"{name}_cpu_ms_per_candidate_p50": round(median(cpu), 1) if cpu else None,
    }


def by_group(rows: list[Row]) -> dict[str, Json]:
    """Right patches among bugs that changed code, and among those that took code away."""
    found: dict[str, Json] = {}
    for group, kinds in (("changed", CHANGING), ("removed", sorted(OPERATORS.keys() - CHANGING))):
        mine = [row for row in rows if row.bug.kind in kinds]
        right = sum(row.right for row in mine)
        found[f"mutants_{group}"] = {
            "n": len(mine),
            "right": right,
            "wilson95": wilson(right, len(mine)),
        }
    return found


def met(found: dict[str, Json]) -> bool:
    """Whether every goal that this run measured is reached."""
    checks: list[bool] = []
    for name in ("mutants", "human"):
        if (right := found.get(f"{name}_right")) is not None:
            checks.append(right >= GOALS[f"{name}_right"])
        if strong := found.get(f"{name}_strong"):
            share = found[f"{name}_wrong_among_strong"] / strong
            checks.append(share <= GOALS["wrong_among_strong_max"])
        if (cpu := found.get(f"{name}_cpu_ms_per_candidate_p50")) is not None:
            checks.append(cpu <= GOALS["cpu_ms_per_candidate_p50_max"])
    return bool(checks) and all(checks)


async def run(
    name: str, bugs: Iterable[Bug], budget_s: float, seed: int, details: Path | None
) -> list[Row]:
    rows: list[Row] = []
    for bug in bugs:
        row = await repair(bug, budget_s, seed)
        rows.append(row)
        print(_line(row), flush=True)
        if details is not None:
            _note(details, name, row)
    return rows


def _line(row: Row) -> str:
    what = "none"
    if row.outcome is not None:
        what = "right" if row.right else "passes" if row.outcome.passes else "wrong"
    strength = row.evidence.get("class", "-")
    template = row.evidence.get("template", "")
    return f"{row.bug.name:24} {row.bug.kind:20} {what:7} {strength:7} {row.seconds:5.0f} s  {template}"


def _note(details: Path, name: str, row: Row) -> None:
    finished = row.finished
    record = {
        "set": name,
        "bug": row.bug.name,
        "kind": row.bug.kind,
        "file": row.bug.file,
        "seconds": round(row.seconds, 1),
        "right": row.right,
        "outcome": None if row.outcome is None else [
            row.outcome.passes, row.outcome.identical, row.outcome.alike
        ],
        "bug_diff": _diff(row.bug),
        "summary": finished.summary if finished else None,
        "evidence": row.evidence,
        "handover": finished.handover if finished else None,
    }  # fmt: skip
    with details.open("a") as file:
        file.write(json.dumps(record) + "\n")


def _diff(bug: Bug) -> list[str]:
    lines = difflib.unified_diff(bug.text.split("\n"), bug.right_text.split("\n"), lineterm="", n=0)
    return list(lines)[2:]


def sets(chosen: str, n: int, seed: int) -> Iterator[tuple[str, Iterable[Bug]]]:
    if chosen in ("mutants", "all"):
        yield "mutants", mutants(n, seed)
    if chosen in ("human", "all"):
        yield "human", human(n, seed)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.repair", description=__doc__)
    parser.add_argument("--set", default="all", choices=("mutants", "human", "quixbugs", "all"))
    parser.add_argument("--n", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget-s", type=float, default=60.0)
    parser.add_argument("--details", type=Path, help="append one JSON line per bug to this file")
    parser.add_argument("--peers", action="store_true", help="there are no peers to run")
    options = parser.parse_args(argv)
    environment()
    found: dict[str, Json] = {"seed": options.seed, "budget_s": options.budget_s}
    if options.set in ("quixbugs", "all"):
        found["quixbugs"] = QUIXBUGS
        print(f"quixbugs: {QUIXBUGS}")
    for name, bugs in sets(options.set, options.n, options.seed):
        rows = asyncio.run(run(name, bugs, options.budget_s, options.seed, options.details))
        found |= figures(name, rows)
        found |= by_group(rows) if name == "mutants" else {}
    print(json.dumps({
        "bench": "repair", "figures": found, "goals": GOALS, "peers": {}, "met": met(found),
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
