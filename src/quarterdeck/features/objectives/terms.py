"""Words as they are compared: folded, without the ending of a plural."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

WORD_CHARS_MAX = 64
TERMS_MAX = 24
_WORD = re.compile(r"\w+")
_STOP_WORDS = (
    "a about an and any are as at be been but by can could do does for from give had has have how"
    " i if in into is it its me my no not of on or our please should so some than that the their"
    " then there these they this to us was we were what when where which who why will with would"
    " you your"
)
STOP = frozenset(_STOP_WORDS.split())


def words(text: str) -> list[str]:
    """The words of a text in order, folded to compare (NFKC, case, plural)."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [folded_word(word) for word in _WORD.findall(folded)]


def folded_word(word: str) -> str:
    """A folded word without the `s` of a plural."""
    word = word[:WORD_CHARS_MAX]
    plural = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if plural else word


def telling(text: str, *, without: Iterable[str] = ()) -> tuple[str, ...]:
    """The words to look for: each once, at most 24; stop words and `without` only as a last resort."""
    found = list(dict.fromkeys(words(text)))
    left_out = {folded_word(word) for word in STOP} | {folded_word(word) for word in without}
    kept = [word for word in found if word not in left_out]
    return tuple((kept or found)[:TERMS_MAX])
