"""Ask a person before anything starts, is changed or is promoted: `start`, `gate`, `approve`."""

from quarterdeck.feature import Feature
from quarterdeck.features.governance.approvals import STEPS

feature = Feature("governance", steps=STEPS)

__all__ = ["STEPS", "feature"]
