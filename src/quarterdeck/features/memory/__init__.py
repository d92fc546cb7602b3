"""Remember every artifact and lesson, and find them again: `recall`, `learn`, search."""

from quarterdeck.feature import Feature
from quarterdeck.features.memory.memory import Memory
from quarterdeck.features.memory.routes import router
from quarterdeck.features.memory.steps import REACTIONS, STEPS
from quarterdeck.features.memory.store import tables


def feature_for(dialect: str) -> Feature:
    """The feature with the tables of `sqlite` or `postgres`."""
    return Feature(
        "memory", steps=STEPS, tables=tables(dialect), routes=router, reactions=REACTIONS
    )


feature = feature_for("sqlite")

__all__ = ["STEPS", "Memory", "feature", "feature_for", "tables"]
