"""Values that texts state, in forms that can be compared: times, dates, money, shares, amounts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from quarterdeck.features.objectives.terms import words

SENTENCE_CHARS_MAX = 600
COVERED_MIN = 0.5
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")
_MONTH_NAMES = (
    "january february march april may june july august september october november december"
)
_MONTHS = _MONTH_NAMES.split()
_MONTH = "|".join(f"{name[:3]}(?:{name[3:]})?" if len(name) > 3 else name for name in _MONTHS)
_ISO_DATE = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b")
_DAY_FIRST = re.compile(rf"\b(\d{{1,2}})\.? ({_MONTH})\.? (\d{{4}})\b", re.IGNORECASE)
_MONTH_FIRST = re.compile(rf"\b({_MONTH})\.? (\d{{1,2}}),? (\d{{4}})\b", re.IGNORECASE)
_CLOCK = re.compile(r"\b(\d{1,2})[:.](\d\d)(?: ?([ap])\.?m\b)?", re.IGNORECASE)
_HOUR = re.compile(r"\b(\d{1,2}) ?([ap])\.?m\b", re.IGNORECASE)
_AMOUNT = r"(\d{1,12}(?:,\d{3})*(?:\.\d{1,6})?)"
_MONEY = re.compile(rf"([$€£]) ?{_AMOUNT}|\b{_AMOUNT} ?([$€£]|USD\b|EUR\b|GBP\b)")
_SHARE = re.compile(rf"\b{_AMOUNT} ?(?:%|percent\b)")
_COUNT = re.compile(rf"\b{_AMOUNT} ([a-z]{{3,20}})\b", re.IGNORECASE)
_CURRENCY = {"$": "USD", "€": "EUR", "£": "GBP"}
_NEGATIONS = "no not never none cannot neither nor without closed unavailable"
_NEGATION = frozenset(_NEGATIONS.split())

Values = Mapping[str, frozenset[str]]


def stated(texts: Iterable[str], terms: Sequence[str]) -> Values:
    """Kind of value → the values stated in those sentences that speak most of the terms.

    Only sentences with at least half of the terms count, and of them those with the most. A
    sentence with all of the terms also has a polarity: `denied` when it holds a negation.
    """
    sentences = [s for text in texts for s in _SENTENCE_END.split(text) if s]
    shares = [(_share(sentence, terms), sentence) for sentence in sentences]
    best = max((share for share, _ in shares), default=0.0)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for share, sentence in shares:
        if share < best or share < COVERED_MIN:
            continue
        for kind, value in values_in(sentence[:SENTENCE_CHARS_MAX]):
            found[kind].add(value)
        if share == 1.0:
            denied = not _NEGATION.isdisjoint(re.findall(r"\w+", sentence.casefold()))
            found["polarity"].add("denied" if denied else "affirmed")
    return {kind: frozenset(values) for kind, values in found.items()}


def values_in(sentence: str) -> Iterator[tuple[str, str]]:
    """(kind, value) of everything a sentence states as a number, in one spelling for each."""
    rest = sentence
    for pattern, read in _READERS:
        for match in pattern.finditer(rest):
            found = read(match)
            if found is not None:
                yield found
        rest = pattern.sub(" ; ", rest)


def agreement(by_source: Sequence[Values]) -> tuple[float | None, dict[str, float]]:
    """How far sources state the same, 0..1, and per kind of value; None when nothing compares.

    Per kind it is the mean overlap (Jaccard) of every two sources that state a value of the kind;
    the kind that agrees least decides.
    """
    kinds = sorted({kind for values in by_source for kind in values})
    per_kind: dict[str, float] = {}
    for kind in kinds:
        sets = [values[kind] for values in by_source if kind in values]
        pairs = [(a, b) for n, a in enumerate(sets) for b in sets[n + 1 :]]
        if pairs:
            per_kind[kind] = round(sum(len(a & b) / len(a | b) for a, b in pairs) / len(pairs), 3)
    return (min(per_kind.values()) if per_kind else None), per_kind


def _share(sentence: str, terms: Sequence[str]) -> float:
    held = set(words(sentence))
    return sum(term in held for term in terms) / len(terms) if terms else 0.0


def _number(text: str) -> str:
    return format(Decimal(text.replace(",", "")).normalize(), "f")


def _iso_date(match: re.Match[str]) -> tuple[str, str]:
    return "date", match[0]


def _day_first(match: re.Match[str]) -> tuple[str, str]:
    return "date", f"{match[3]}-{_month(match[2]):02d}-{int(match[1]):02d}"


def _month_first(match: re.Match[str]) -> tuple[str, str]:
    return "date", f"{match[3]}-{_month(match[1]):02d}-{int(match[2]):02d}"


def _month(name: str) -> int:
    return next(n for n, month in enumerate(_MONTHS, start=1) if month.startswith(name.lower()[:3]))


def _clock(match: re.Match[str]) -> tuple[str, str] | None:
    hour, minute = int(match[1]), int(match[2])
    return _time(hour, minute, match[3])


def _hour(match: re.Match[str]) -> tuple[str, str] | None:
    return _time(int(match[1]), 0, match[2])


def _time(hour: int, minute: int, half: str | None) -> tuple[str, str] | None:
    if half is not None and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half.lower() == "p" else 0)
    if hour > 24 or minute > 59:
        return None
    return "time", f"{hour:02d}:{minute:02d}"


def _money(match: re.Match[str]) -> tuple[str, str]:
    sign = match[1] or match[4]
    return "money", f"{_number(match[2] or match[3])} {_CURRENCY.get(sign, sign)}"


def _percent(match: re.Match[str]) -> tuple[str, str]:
    return "share", f"{_number(match[1])} %"


def _count(match: re.Match[str]) -> tuple[str, str]:
    unit = words(match[2])[0]
    return f"number of {unit}", _number(match[1])


# In this order: what one reads is no longer there for the next.
_READERS = (
    (_ISO_DATE, _iso_date),
    (_DAY_FIRST, _day_first),
    (_MONTH_FIRST, _month_first),
    (_MONEY, _money),
    (_SHARE, _percent),
    (_CLOCK, _clock),
    (_HOUR, _hour),
    (_COUNT, _count),
)
