"""Find something out on the allowed sites alone, with sources and a computed confidence: `objective`."""

from quarterdeck.feature import Feature
from quarterdeck.features.objectives.objectives import Objectives, ObjectiveSettings
from quarterdeck.features.objectives.routes import router
from quarterdeck.features.objectives.steps import REACTIONS, STEPS
from quarterdeck.features.objectives.store import TABLES

feature = Feature("objectives", steps=STEPS, tables=TABLES, routes=router, reactions=REACTIONS)

__all__ = ["STEPS", "ObjectiveSettings", "Objectives", "feature"]
