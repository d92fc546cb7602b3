"""What sort of question an objective is, by stated keywords; the words that decided are recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from quarterdeck.core.events import Json
from quarterdeck.features.objectives.terms import folded_word, telling, words

_KEYWORDS = {
    "fact": "when who where cost price fee date deadline hours phone address version number",
    "compare": "compare comparison versus vs difference differ contrast",
    "summary": "summarise summarize summary overview explain describe outline",
    "list": "list enumerate every each which",
    "find": "find search locate look research collect gather read fetch get check",
    "act": "buy book pay order send submit subscribe register upload delete",
}
KEYWORDS: Mapping[str, tuple[str, ...]] = {
    intent: tuple(found.split()) for intent, found in _KEYWORDS.items()
}
"""Intent → its words; where two have as many, the one written first here is taken."""
_ASKING = ("compare", "summary", "list", "find")
"""Intents whose words say what to do, not what to look for."""
_INTENT_OF = {folded_word(word): name for name, found in KEYWORDS.items() for word in found}


@dataclass(frozen=True, slots=True)
class Intent:
    """The intent with its basis: (word, its place from 1, the intent it speaks for).

    `intent` and `confidence` (the share of the keywords that agree) are None when no keyword
    speaks. `terms` are the words to look for. `note` warns of what no tool here can do.
    """

    intent: str | None
    confidence: float | None
    basis: tuple[tuple[str, int, str], ...]
    terms: tuple[str, ...]
    note: str | None

    def as_json(self) -> dict[str, Json]:
        basis = [{"word": word, "place": n, "intent": name} for word, n, name in self.basis]
        return {**asdict(self), "basis": basis, "terms": list(self.terms)}


def classify(objective: str) -> Intent:
    """The intent of an objective, decided by its words alone."""
    basis = tuple(
        (word, place, _INTENT_OF[word])
        for place, word in enumerate(words(objective), start=1)
        if word in _INTENT_OF
    )
    votes = Counter(name for _word, _place, name in basis)
    intent = max(KEYWORDS, key=lambda name: votes[name]) if votes else None
    asking = [word for name in _ASKING for word in KEYWORDS[name]]
    return Intent(
        intent=intent,
        confidence=round(votes[intent] / votes.total(), 3) if intent else None,
        basis=basis,
        terms=telling(objective, without=asking),
        note=_note(basis),
    )


def _note(basis: tuple[tuple[str, int, str], ...]) -> str | None:
    acts = [word for word, _place, name in basis if name == "act"]
    if not acts:
        return None
    return f"It may ask for an action ({', '.join(acts)}); the tools here read and send nothing."
