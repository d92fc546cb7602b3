"""Questions about a week of opening hours and a moment."""

from datetime import timedelta

from hours.week import DAY_MINUTES


def is_open(week, moment):
    """Whether the shop is open at a moment (a `datetime` in the shop's own time)."""
    return _running(week, moment) is not None


def minutes_until_closing(week, moment):
    """The minutes left of the span that is running, or None when the shop is closed."""
    running = _running(week, moment)
    if running is None:
        return None
    span, since_midnight = running
    end = span.opens + span.length()
    return end - since_midnight


def next_opening(week, moment):
    """The next moment at which the shop opens, or None when it never does.

    A shop that is open now opens again after the span that is running.
    """
    now = _minute_of(moment)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    for ahead in range(8):
        for span in week.on(moment.weekday() + ahead):
            if ahead == 0 and span.opens <= now:
                continue
            return midnight + timedelta(days=ahead, minutes=span.opens)
    return None


def _running(week, moment):
    """The span that is running, with the minutes since the midnight before it began."""
    minute = _minute_of(moment)
    for span in week.on(moment.weekday()):
        if span.covers(minute):
            return span, minute
    for span in week.on(moment.weekday() - 1):
        if span.covers_next_day(minute):
            return span, minute + DAY_MINUTES
    return None


def _minute_of(moment):
    return moment.hour * 60 + moment.minute
