"""The plan that needs no model: made from the brief, the constraints and the consensus alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from quarterdeck.features.mentors.opinion import FilePath, ShortText
from quarterdeck.features.mentors.workplan import Phase, Task, WorkPlan, is_inside

_MUST_HAVE_MAX = 5
_FILE = TypeAdapter(FilePath)
_TEST = TypeAdapter(ShortText)


def template_plan(
    brief: str, constraints: Mapping[str, Any], consensus: Mapping[str, Any]
) -> WorkPlan:
    """A plain plan in four phases; nobody has estimated it, so it carries no estimates.

    `consensus` is the summary's consensus (`quote`, `files`, `tests`); it may be empty.
    """
    goal = _first_line(brief)
    quote = consensus.get("quote")
    advice = quote["text"] if isinstance(quote, Mapping) else None
    files = _fitting(_FILE, [name for name in _names(consensus, "files") if is_inside(name)], 8)
    tests = _fitting(_TEST, _names(consensus, "tests"), 5)
    change = f"{advice} (wanted: {goal})" if advice else f"Make the change: {goal}"
    wishes = _must_have(constraints)
    tasks = [
        Task(
            id="baseline",
            phase=Phase.SETUP,
            description="Run build and tests on the untouched sandbox and note what fails.",
        ),
        _task("change", Phase.IMPLEMENTATION, change, ("baseline",), files=files),
        *(
            _task(f"must-have-{n}", Phase.IMPLEMENTATION, f"Must have: {wish}", ("change",))
            for n, wish in enumerate(wishes, start=1)
        ),
    ]
    built = tuple(task.id for task in tasks[1:])
    shown = "Have a test that fails without the change and passes with it."
    proof = "Build and run every test from a fresh checkout; compare with the baseline."
    tasks += [
        _task("red-to-green", Phase.TESTING, shown, built, tests=tests),
        _task("fresh-proof", Phase.VERIFICATION, proof, ("red-to-green",)),
    ]
    approach = advice or f"As the brief says: {goal}"
    return WorkPlan(technical_approach=approach[:1000], tasks=tuple(tasks))


def _task(
    id: str,
    phase: Phase,
    description: str,
    needs: tuple[str, ...],
    *,
    files: tuple[str, ...] = (),
    tests: tuple[str, ...] = (),
) -> Task:
    return Task(
        id=id,
        phase=phase,
        description=description[:400],
        needs=needs,
        files=files,
        tests=tests,
    )


def _first_line(brief: str) -> str:
    line = next((line.strip() for line in brief.splitlines() if line.strip()), brief.strip())
    return line if len(line) <= 160 else f"{line[:159]}…"


def _must_have(constraints: Mapping[str, Any]) -> list[str]:
    wishes = constraints.get("must_have")
    listed: Sequence[Any] = wishes if isinstance(wishes, list) else [wishes]
    texts = [re.sub(r"\s+", " ", wish).strip() for wish in listed if isinstance(wish, str)]
    return [text[:160] for text in texts if text][:_MUST_HAVE_MAX]


def _names(consensus: Mapping[str, Any], field: str) -> list[str]:
    found = consensus.get(field)
    return [one["name"] for one in found if "name" in one] if isinstance(found, list) else []


def _fitting(shape: TypeAdapter[str], values: Sequence[str], count: int) -> tuple[str, ...]:
    kept: list[str] = []
    for value in values:
        try:
            kept.append(shape.validate_python(value))
        except ValidationError:
            continue
    return tuple(kept[:count])
