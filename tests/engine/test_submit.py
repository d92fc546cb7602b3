"""The one door in: ids, limits, and the plan that a recipe gives (ORC-1)."""

from __future__ import annotations

import asyncio
import re

import pytest

from quarterdeck.core.errors import Conflict, InvalidInput, InvalidPlan, NotFound, TooLarge
from quarterdeck.core.run import Status
from quarterdeck.core.step import Done
from quarterdeck.core.validated import validated
from quarterdeck.engine.recipes import Recipe, parse_recipe, shipped_recipes
from quarterdeck.engine.submit import Submission, submit
from quarterdeck.engine.view import phases, view
from tests.engine.building import kind, plan

SOLVE = Recipe(
    "solve",
    1,
    "test",
    plan(
        {"id": "a", "kind": "work", "phase": "one"},
        {"id": "b", "kind": "work", "phase": "two", "needs": ["a"], "when": "mission.hold"},
        {"id": "c", "kind": "work", "phase": "two", "needs": ["b"]},
        {"id": "d", "kind": "work", "phase": "three", "needs": ["c"], "when": "mission.hold"},
    ),
)


async def work(ctx) -> Done:
    return Done({"outcome": ctx.step.id})


def door(engine):
    def put(**fields):
        given = Submission(**{"brief": "x", **fields})
        return submit(engine, {"solve": SOLVE}, given, workspace="default", actor="user:owner")

    return put


@pytest.mark.req("ORC-1")
async def test_many_in_one_second_get_ids_of_their_own(at, within):
    async with at(kind("work", work)) as engine:
        put = door(engine)
        runs = await within(asyncio.gather(*(put() for _ in range(30))))
    ids = [run.mission.id for run in runs]
    assert len(set(ids)) == 30
    assert all(re.fullmatch(r"mission_\d{8}_\d{6}(_\d+)?", found) for found in ids)


@pytest.mark.req("ORC-1")
async def test_a_given_id_is_kept_and_not_given_twice(at, within):
    async with at(kind("work", work)) as engine:
        put = door(engine)
        assert (await put(mission_id="mine")).mission.id == "mine"
        with pytest.raises(Conflict, match="'mine' already"):
            await put(mission_id="mine")


async def test_what_does_not_fit_is_refused_and_nothing_is_stored(at):
    async with at(kind("work", work)) as engine:
        put = door(engine)
        with pytest.raises(NotFound, match="no recipe"):
            await put(recipe="unheard_of")
        with pytest.raises(TooLarge, match="constraints"):
            await put(constraints={"a": "x" * 300_000})
        deep: object = 1
        for _ in range(40):
            deep = [deep]
        with pytest.raises(InvalidInput, match="nests deeper"):
            await put(implementer_options={"a": deep})
        with pytest.raises(InvalidInput, match="brief"):
            await put(brief=" \n")
        with pytest.raises(InvalidInput, match="auto_implement"):
            validated(Submission, {"brief": "x", "auto_implement": "yes"})
        assert await engine.log.read() == []


@pytest.mark.req("ORC-1")
async def test_the_phases_and_the_outcome_are_shown(at, within):
    async with at(kind("work", work)) as engine:
        first = await door(engine)(mission_id="m1")
        assert phases(first)[0]["phase"] == "one"
        run = await within(engine.ended(("default", "m1")))
        shown = view(run, engine.weights(run))
    assert shown["phases"] == [
        {"phase": "one", "status": "done"},
        {"phase": "two", "status": "done"},
        {"phase": "three", "status": "skipped"},
    ]
    assert (shown["status"], shown["outcome"], shown["percent"]) == ("done", "c", 100.0)
    assert [step["status"] for step in shown["steps"]] == ["done", "skipped", "done", "skipped"]
    assert run.in_status(Status.SKIPPED) == ["b", "d"]


def test_every_shipped_recipe_is_a_plan():
    recipes = shipped_recipes()
    assert "solve" in recipes
    assert all(recipe.summary and recipe.plan.steps for recipe in recipes.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML"),
        ("- 1", "exactly the fields"),
        ("{name: a, version: 1, summary: s}", "exactly the fields"),
        ("{name: a, version: 1, summary: s, steps: 7}", "steps"),
        ("{name: a, version: 1, summary: s, steps: []}", "at least one step"),
        ("{name: a, version: 1, summary: s, steps: [{id: A, kind: w}]}", r"steps.0.id"),
        ("{name: a, version: 1, summary: s, steps: [{id: a, kind: w, needs: [b]}]}", "'b'"),
        ("{name: a, version: x, summary: s, steps: [{id: a, kind: w}]}", "version"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_a_recipe_that_is_none_is_refused_with_its_place(text, said):
    with pytest.raises(InvalidPlan, match=said):
        parse_recipe(text, where="x.yaml")
