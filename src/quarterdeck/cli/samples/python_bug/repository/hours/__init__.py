"""Opening hours: read them, ask whether a shop is open, find the next opening."""

from hours.parse import BadHours, parse_week
from hours.query import is_open, minutes_until_closing, next_opening
from hours.week import Span, Week

__all__ = [
    "BadHours",
    "Span",
    "Week",
    "is_open",
    "minutes_until_closing",
    "next_opening",
    "parse_week",
]
