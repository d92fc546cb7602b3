"""Isolate a repository, change it, prove the change, promote it and roll it back."""

from quarterdeck.feature import Feature
from quarterdeck.features.coding.settings import CodingSettings
from quarterdeck.features.coding.steps import STEPS
from quarterdeck.features.coding.wiring import Coding

feature = Feature("coding", steps=STEPS)

__all__ = ["STEPS", "Coding", "CodingSettings", "feature"]
