"""Ask local models, count their votes, and plan: `define`, `consult`, `agree`, `plan`, `diagnose`."""

from quarterdeck.feature import Feature
from quarterdeck.features.mentors.roundtable import Mentors
from quarterdeck.features.mentors.settings import MentorSettings
from quarterdeck.features.mentors.steps import STEPS

feature = Feature("mentors", steps=STEPS)

__all__ = ["STEPS", "MentorSettings", "Mentors", "feature"]
