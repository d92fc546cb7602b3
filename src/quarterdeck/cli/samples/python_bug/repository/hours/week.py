"""A week of opening hours, in minutes since midnight."""

from dataclasses import dataclass, field

DAY_MINUTES = 24 * 60
DAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")


@dataclass(frozen=True, order=True)
class Span:
    """From `opens` until just before `closes`; it goes on after midnight where `closes` is earlier."""

    opens: int
    closes: int

    @property
    def passes_midnight(self):
        return self.closes <= self.opens

    def length(self):
        """Its minutes."""
        if self.passes_midnight:
            return self.closes + DAY_MINUTES - self.opens
        return self.closes - self.opens

    def covers(self, minute):
        """Whether it is running at this minute of the day it began on."""
        if self.passes_midnight:
            return minute >= self.opens
        if minute < self.opens or minute > self.closes:
            return False
        return True

    def covers_next_day(self, minute):
        """Whether it is still running at this minute of the day after."""
        return self.passes_midnight and minute < self.closes


@dataclass(frozen=True)
class Week:
    """Spans by day of the week, Monday first; each day's spans are in order."""

    days: tuple = field(default_factory=lambda: ((),) * 7)

    def on(self, weekday):
        """The spans that begin on a day."""
        return self.days[weekday % 7]

    def minutes(self):
        """How long the shop is open in a week."""
        return sum(span.length() for spans in self.days for span in spans)

    def describe(self):
        """One line for each day with hours."""
        lines = []
        for name, spans in zip(DAYS, self.days):
            if spans:
                lines.append(f"{name} " + ", ".join(map(_span_text, spans)))
        return "\n".join(lines) or "closed"


def _span_text(span):
    return f"{_clock(span.opens)}-{_clock(span.closes)}"


def _clock(minute):
    return f"{minute // 60:02d}:{minute % 60:02d}"
