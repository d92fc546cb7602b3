"""The work plan: a validated graph of tasks, and the document that is made from it (ORC-5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from quarterdeck.core.errors import InvalidPlan
from quarterdeck.core.events import Json
from quarterdeck.core.plan import cycle_in
from quarterdeck.features.mentors.opinion import Bounded, FilePath, Sentence, ShortText

TASKS_MAX = 24
PER_PHASE_MAX = 6
ESTIMATE_MAX_MIN = 480


class Phase(StrEnum):
    """The phases of the work, in order."""

    SETUP = "setup"
    IMPLEMENTATION = "implementation"
    TESTING = "testing"
    VERIFICATION = "verification"


PHASE_PURPOSE: Mapping[Phase, str] = {
    Phase.SETUP: "Know the starting point before anything is changed.",
    Phase.IMPLEMENTATION: "Make the change.",
    Phase.TESTING: "Show by tests that the change does what is wanted.",
    Phase.VERIFICATION: "Prove the result from a fresh checkout.",
}

TaskId = Annotated[str, StringConstraints(max_length=24, pattern=r"^[a-z][a-z0-9_-]{0,23}$")]


class DraftTask(Bounded):
    """A task as a model writes it; its phase is the list it stands in."""

    id: TaskId
    description: Sentence
    needs: Annotated[tuple[TaskId, ...], Field(max_length=4)] = ()
    estimate_min: Annotated[int, Field(ge=1, le=ESTIMATE_MAX_MIN)]
    files: Annotated[tuple[FilePath, ...], Field(max_length=4)] = ()
    tests: Annotated[tuple[ShortText, ...], Field(max_length=3)] = ()


class Draft(Bounded):
    """What a model is asked for: one list of tasks per phase, so that none can be forgotten."""

    technical_approach: Sentence
    setup: Annotated[tuple[DraftTask, ...], Field(min_length=1, max_length=3)]
    implementation: Annotated[tuple[DraftTask, ...], Field(min_length=1, max_length=5)]
    testing: Annotated[tuple[DraftTask, ...], Field(min_length=1, max_length=3)]
    verification: Annotated[tuple[DraftTask, ...], Field(min_length=1, max_length=3)]

    def plan(self) -> WorkPlan:
        """The graph that the draft describes; not checked yet, see `check`."""
        tasks = [
            Task(**task.model_dump(), phase=phase)
            for phase in Phase
            for task in getattr(self, phase)
        ]
        return WorkPlan(technical_approach=self.technical_approach, tasks=tuple(tasks))


class Task(Bounded):
    """One piece of work; `estimate_min` is in minutes, None where nobody has estimated it."""

    id: TaskId
    phase: Phase
    description: Annotated[str, StringConstraints(min_length=1, max_length=400)]
    needs: Annotated[tuple[TaskId, ...], Field(max_length=8)] = ()
    estimate_min: Annotated[int, Field(ge=1, le=ESTIMATE_MAX_MIN)] | None = None
    files: Annotated[tuple[FilePath, ...], Field(max_length=8)] = ()
    tests: Annotated[tuple[ShortText, ...], Field(max_length=5)] = ()


class WorkPlan(Bounded):
    """The graph: tasks in the order of their phases."""

    technical_approach: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    tasks: Annotated[tuple[Task, ...], Field(min_length=1, max_length=TASKS_MAX)]


def check(plan: WorkPlan) -> None:
    """Raise `InvalidPlan` with everything that is wrong, so that one correction can mend it all.

    Ids are unique; needs name tasks of the plan in the same or an earlier phase; no cycle; every
    phase has a task; files are inside the repository.
    """
    problems = [
        *_id_problems(plan),
        *_need_problems(plan),
        *_phase_problems(plan),
        *_file_problems(plan),
    ]
    if not problems:
        cycle = cycle_in({task.id: task.needs for task in plan.tasks})
        problems = [f"the needs form a cycle: {' → '.join(cycle)}"] if cycle else []
    if problems:
        more = f"; and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise InvalidPlan(
            f"{'; '.join(problems[:6])}{more}.",
            where="plan",
            hint="A task may need tasks of its own or an earlier phase, by their ids.",
        )


def _id_problems(plan: WorkPlan) -> list[str]:
    seen: set[str] = set()
    twice = {task.id for task in plan.tasks if task.id in seen or seen.add(task.id)}
    return [f"the id {name!r} is used twice" for name in sorted(twice)]


def _need_problems(plan: WorkPlan) -> list[str]:
    phase_of = {task.id: list(Phase).index(task.phase) for task in plan.tasks}
    problems = []
    for task in plan.tasks:
        for need in task.needs:
            if need not in phase_of:
                problems.append(f"{task.id} needs {need!r}, which is not a task")
            elif need == task.id:
                problems.append(f"{task.id} needs itself")
            elif phase_of[need] > phase_of[task.id]:
                problems.append(f"{task.id} ({task.phase.value}) needs {need!r} of a later phase")
    return problems


def _phase_problems(plan: WorkPlan) -> list[str]:
    present = {task.phase for task in plan.tasks}
    problems = [f"the phase {phase.value} has no task" for phase in Phase if phase not in present]
    order = [list(Phase).index(task.phase) for task in plan.tasks]
    return problems if order == sorted(order) else [*problems, "the phases are out of order"]


def _file_problems(plan: WorkPlan) -> list[str]:
    return [
        f"{task.id} names {file!r}, which is outside of the repository"
        for task in plan.tasks
        for file in task.files
        if not is_inside(file)
    ]


def is_inside(file: str) -> bool:
    """Whether a relative path stays below where it starts."""
    return ".." not in file.split("/") and not file.startswith("/")


def document(plan: WorkPlan) -> dict[str, Json]:
    """The plan as it is published: `{phases, technical_approach, dependencies}` (ORC-5).

    `estimated_time` is the sum of a phase's estimates, "unknown" where one is missing.
    """
    return {
        "phases": [_phase_json(phase, plan) for phase in Phase],
        "technical_approach": plan.technical_approach,
        "dependencies": [
            {"task": task.id, "needs": need} for task in plan.tasks for need in task.needs
        ],
    }


def _phase_json(phase: Phase, plan: WorkPlan) -> dict[str, Json]:
    tasks = [task for task in plan.tasks if task.phase == phase]
    return {
        "name": phase.value,
        "description": PHASE_PURPOSE[phase],
        "estimated_time": duration_text([task.estimate_min for task in tasks]),
        "tasks": [
            {
                "id": task.id,
                "description": task.description,
                "estimate_min": task.estimate_min,
                "estimated_time": duration_text([task.estimate_min]),
                "files": list(task.files),
                "tests": list(task.tests),
            }
            for task in tasks
        ],
    }


def duration_text(minutes: Sequence[int | None]) -> str:
    """The sum for people: "45 min", "2 h 5 min", or "unknown" when a part of it is."""
    known = [m for m in minutes if m is not None]
    if not minutes or len(known) < len(minutes):
        return "unknown"
    hours, rest = divmod(sum(known), 60)
    return f"{rest} min" if not hours else f"{hours} h" if not rest else f"{hours} h {rest} min"


def plan_of(document: Mapping[str, Any]) -> WorkPlan:
    """The graph that a document was made from; inverse of `document`."""
    needs: dict[str, list[str]] = {}
    for edge in document["dependencies"]:
        needs.setdefault(edge["task"], []).append(edge["needs"])
    tasks = [
        Task(
            id=task["id"],
            phase=Phase(phase["name"]),
            description=task["description"],
            needs=tuple(needs.get(task["id"], ())),
            estimate_min=task["estimate_min"],
            files=tuple(task["files"]),
            tests=tuple(task["tests"]),
        )
        for phase in document["phases"]
        for task in phase["tasks"]
    ]
    return WorkPlan(technical_approach=document["technical_approach"], tasks=tuple(tasks))
