"""Reads opening hours from text."""

import re

from hours.week import DAY_MINUTES, DAYS, Span, Week

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")


class BadHours(ValueError):
    """The text is not opening hours; says which part is wrong."""


def parse_week(text):
    """The week that rules such as `Mo-Fr 09:00-18:00; Sa 10:00-14:00` describe."""
    days = [[] for _ in DAYS]
    for rule in text.split(";"):
        rule = rule.strip()
        if not rule:
            continue
        names, _, spans = rule.partition(" ")
        for day in _days(names):
            if spans.strip() == "off":
                days[day].clear()
            else:
                days[day].extend(_span(part) for part in spans.split(","))
    return Week(tuple(tuple(sorted(spans)) for spans in days))


def _days(names):
    for part in names.split(","):
        first, dash, last = part.partition("-")
        begin = _day(first)
        if not dash:
            yield begin
            continue
        count = (_day(last) - begin) % 7 + 1
        for step in range(count):
            yield (begin + step) % 7


def _day(name):
    if name not in DAYS:
        raise BadHours(f"{name!r} is not a day")
    return DAYS.index(name)


def _span(text):
    opens, dash, closes = text.strip().partition("-")
    if not dash:
        raise BadHours(f"{text!r} is not a span")
    return Span(_minute(opens), _minute(closes) % DAY_MINUTES)


def _minute(text):
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise BadHours(f"{text!r} is not a time")
    minute = int(found[1]) * 60 + int(found[2])
    if int(found[2]) > 59 or minute > DAY_MINUTES:
        raise BadHours(f"{text!r} is not a time of day")
    return minute
