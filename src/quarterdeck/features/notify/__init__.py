"""Tell people when a mission is done: `notify`."""

from quarterdeck.feature import Feature
from quarterdeck.features.notify.steps import STEPS

feature = Feature("notify", steps=STEPS)

__all__ = ["STEPS", "feature"]
