"""Recipes and features fit together: every kind that a recipe names is there, once."""

from __future__ import annotations

from collections import Counter

from quarterdeck.engine.recipes import shipped_recipes
from tools.reference import all_features


def test_every_kind_of_every_recipe_exists():
    kinds = {(kind.name, kind.version) for feature in all_features() for kind in feature.steps}
    missing = {
        f"{recipe.name}: {step.kind}@{step.version}"
        for recipe in shipped_recipes().values()
        for step in recipe.plan.steps
        if (step.kind, step.version) not in kinds
    }
    assert not missing


def test_no_kind_is_offered_twice():
    counted = Counter(
        (kind.name, kind.version) for feature in all_features() for kind in feature.steps
    )
    assert not [name for name, times in counted.items() if times > 1]


def test_a_feature_is_called_like_its_folder():
    folders = {feature.steps[0].run.__module__ for feature in all_features() if feature.steps}
    named = {feature.name for feature in all_features() if feature.steps}
    assert {module.split(".")[2] for module in folders} == named


def test_a_recipe_is_called_like_its_file():
    assert all(name == recipe.plan.recipe for name, recipe in shipped_recipes().items())
