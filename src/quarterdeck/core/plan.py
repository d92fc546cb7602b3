"""Step and plan: a graph of steps as data, validated before anything runs (DAG-2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from quarterdeck.core.conditions import names_in
from quarterdeck.core.errors import InvalidPlan
from quarterdeck.core.ids import StepId

STEPS_MAX = 500
NEEDS_MAX = 100

KindName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,63}$")]


class StepSpec(BaseModel):
    """One node of a plan.

    `kind` names the handler and `version` the shape it was written for. `when` is a condition over
    the outputs of earlier steps: false means the step is skipped. A step runs when every step in
    `needs` is done or skipped. `phase` groups steps for people (ORC-13). `timeout_s`,
    `attempts_max` and `weight_s` (the expected duration) override those of the kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: StepId
    kind: KindName
    version: Annotated[int, Field(ge=1)] = 1
    needs: Annotated[tuple[StepId, ...], Field(max_length=NEEDS_MAX)] = ()
    when: Annotated[str, StringConstraints(max_length=1000)] | None = None
    phase: Annotated[str, StringConstraints(max_length=64)] | None = None
    args: dict[str, Any] = Field(default_factory=dict)
    timeout_s: Annotated[float, Field(gt=0, le=86_400 * 31)] | None = None
    attempts_max: Annotated[int, Field(ge=1, le=20)] | None = None
    weight_s: Annotated[float, Field(gt=0)] | None = None


class Shape:
    """What the steps of a plan are to each other; made once and shared by all runs of the plan."""

    def __init__(self, steps: Iterable[StepSpec]) -> None:
        self.specs: dict[str, StepSpec] = {spec.id: spec for spec in steps}
        self.place = {step_id: place for place, step_id in enumerate(self.specs)}
        self.followers: dict[str, list[str]] = {step_id: [] for step_id in self.specs}
        self.needs_count: dict[str, int] = {}
        self.phases: dict[str, list[str]] = {}
        """The ids of each phase's steps, both in plan order."""
        for spec in self.specs.values():
            needs = set(spec.needs)
            self.needs_count[spec.id] = len(needs)
            for need in needs:
                self.followers[need].append(spec.id)
            if spec.phase:
                self.phases.setdefault(spec.phase, []).append(spec.id)
        self.roots = [step_id for step_id, count in self.needs_count.items() if not count]


class Plan(BaseModel):
    """A validated, acyclic graph of steps.

    Raises:
        InvalidPlan: on a duplicate id, an unknown need, a cycle, too many steps, or a condition
            that names a step which does not come before it.
        InvalidCondition: on a condition that does not parse.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    recipe_version: int = 1
    steps: tuple[StepSpec, ...]

    def model_post_init(self, _context: object) -> None:
        check_steps(self.steps)

    @cached_property
    def shape(self) -> Shape:
        """What its steps are to each other."""
        return Shape(self.steps)

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """The plan as JSON; the same object each time, not to be changed."""
        return self.model_dump(mode="json")

    def step(self, step_id: str) -> StepSpec:
        return next(s for s in self.steps if s.id == step_id)


class Patch(BaseModel):
    """What a planner step adds to the plan in its own completion transaction (DAG-1).

    `steps` are appended; `rewire` maps a step id to the one that takes its place in the needs of
    every step that has not started yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[StepSpec, ...]
    rewire: dict[StepId, StepId] = Field(default_factory=dict)


def patched(plan: Plan, patch: Patch, untouched: Iterable[str]) -> Plan:
    """The plan after `patch`; only steps in `untouched` (not yet started) are rewired."""
    free = set(untouched)
    kept = tuple(
        step.model_copy(update={"needs": tuple(patch.rewire.get(n, n) for n in step.needs)})
        if step.id in free
        else step
        for step in plan.steps
    )
    return Plan(recipe=plan.recipe, recipe_version=plan.recipe_version, steps=kept + patch.steps)


def check_steps(steps: tuple[StepSpec, ...]) -> None:
    """Raise `InvalidPlan` naming the offenders unless `steps` form a plan."""
    if not steps:
        raise InvalidPlan("A plan needs at least one step.", where="steps")
    if len(steps) > STEPS_MAX:
        raise InvalidPlan(
            f"{len(steps)} steps are more than the {STEPS_MAX} a plan may have.", where="steps"
        )
    by_id = {step.id: step for step in steps}
    if len(by_id) != len(steps):
        raise InvalidPlan(f"Duplicate step ids: {', '.join(_duplicates(steps))}.", where="steps")
    for step in steps:
        unknown = [need for need in step.needs if need not in by_id]
        if unknown:
            raise InvalidPlan(
                f"It needs {', '.join(map(repr, unknown))}, which the plan does not have.",
                where=f"steps.{step.id}.needs",
            )
    cycle = cycle_in({step.id: step.needs for step in steps})
    if cycle:
        raise InvalidPlan(f"The needs form a cycle: {' → '.join(cycle)}.", where="steps")
    _check_conditions(by_id)


def _duplicates(steps: Iterable[StepSpec]) -> list[str]:
    seen: set[str] = set()
    return sorted({s.id for s in steps if s.id in seen or seen.add(s.id)})


def _check_conditions(by_id: Mapping[str, StepSpec]) -> None:
    for step in by_id.values():
        if step.when is None:
            continue
        earlier = ancestors(step.id, {s.id: s.needs for s in by_id.values()})
        strangers = sorted(
            names_in(step.when, where=f"steps.{step.id}.when") - earlier - {"mission"}
        )
        if strangers:
            raise InvalidPlan(
                f"The condition names {', '.join(map(repr, strangers))}, which is not a step "
                "before this one.",
                where=f"steps.{step.id}.when",
                hint="A condition may use 'mission' and the outputs of steps it (indirectly) needs.",
            )


def ancestors(step_id: str, needs: Mapping[str, Iterable[str]]) -> set[str]:
    """Every step that comes before `step_id`, directly or through others."""
    found: set[str] = set()
    frontier = list(needs[step_id])
    while frontier:
        current = frontier.pop()
        if current in found:
            continue
        found.add(current)
        frontier.extend(needs[current])
    return found


def cycle_in(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """One cycle as a closed path of ids, or [] when there is none."""
    white, grey, black = 0, 1, 2
    colour = dict.fromkeys(needs, white)
    for root in needs:
        if colour[root] != white:
            continue
        path: list[str] = [root]
        trail = [iter(needs[root])]
        colour[root] = grey
        while trail:
            following = next(trail[-1], None)
            if following is None:
                colour[path.pop()] = black
                trail.pop()
            elif colour[following] == grey:
                return [*path[path.index(following) :], following]
            elif colour[following] == white:
                colour[following] = grey
                path.append(following)
                trail.append(iter(needs[following]))
    return []
