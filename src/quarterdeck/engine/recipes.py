"""Recipes: plans in YAML files, one page each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError

from quarterdeck.core.errors import InvalidPlan, NotFound
from quarterdeck.core.plan import Plan


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named plan: `summary` says in one line what it does."""

    name: str
    version: int
    summary: str
    plan: Plan


def shipped_recipes() -> dict[str, Recipe]:
    """The product's own recipes, by name."""
    folder = files("quarterdeck.recipes")
    texts = {
        entry.name: entry.read_text("utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }
    recipes = [parse_recipe(text, where=name) for name, text in sorted(texts.items())]
    return {recipe.name: recipe for recipe in recipes}


def parse_recipe(text: str, *, where: str) -> Recipe:
    """The recipe that a YAML text describes.

    Raises:
        InvalidPlan: naming the field and what would be right.
    """
    try:
        raw: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidPlan(f"It is not YAML: {error}.", where=where) from None
    if not isinstance(raw, Mapping) or set(raw) != {"name", "version", "summary", "steps"}:
        raise InvalidPlan(
            "A recipe has exactly the fields name, version, summary and steps.", where=where
        )
    if not isinstance(raw["summary"], str) or not isinstance(raw["steps"], list):
        raise InvalidPlan("The summary is one line of text, the steps are a list.", where=where)
    fields = {"recipe": raw["name"], "recipe_version": raw["version"], "steps": raw["steps"]}
    try:
        plan = Plan.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]).removeprefix("recipe_")
        raise InvalidPlan(f"{first['msg']}.", where=f"{where}: {field}") from None
    return Recipe(plan.recipe, plan.recipe_version, raw["summary"], plan)


def find_recipe(recipes: Mapping[str, Recipe], name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        NotFound: listing the names there are.
    """
    if name in recipes:
        return recipes[name]
    raise NotFound(
        f"There is no recipe {name[:80]!r}.",
        where="recipe",
        hint=f"One of: {', '.join(sorted(recipes))}.",
    )
