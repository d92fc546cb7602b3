"""Which of several texts stands for all of them: the medoid, quoted as it was written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quarterdeck.core.events import Json

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Vectors:
    """Embeddings of texts, and the model that made them."""

    model: str
    by_text: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Medoid:
    """A text that somebody really wrote; `basis` names how likeness was measured."""

    model: str
    text: str
    basis: str
    out_of: int

    def as_json(self) -> dict[str, Json]:
        return {
            "model": self.model,
            "text": self.text,
            "basis": self.basis,
            "out_of": self.out_of,
        }


def medoid(texts: Sequence[tuple[str, str]], vectors: Vectors | None = None) -> Medoid | None:
    """Of (model, text) pairs the text most like all the others; the first one on a tie.

    Likeness is the cosine of embeddings when `vectors` covers every text, else the Jaccard index of
    the sets of words.
    """
    if not texts:
        return None
    embedded = vectors is not None and all(text in vectors.by_text for _, text in texts)
    likeness = [
        [_likeness(one, other, vectors if embedded else None) for _, other in texts]
        for _, one in texts
    ]
    best = max(range(len(texts)), key=lambda i: (round(sum(likeness[i]), 9), -i))
    basis = f"embedding:{vectors.model}" if embedded and vectors is not None else "token-set"
    model, text = texts[best]
    return Medoid(model=model, text=text, basis=basis, out_of=len(texts))


def _likeness(one: str, other: str, vectors: Vectors | None) -> float:
    if vectors is not None:
        return cosine(vectors.by_text[one], vectors.by_text[other])
    return jaccard(one, other)


def jaccard(one: str, other: str) -> float:
    """Shared words over all words, 0..1; two texts without words are alike."""
    a, b = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    return len(a & b) / len(a | b) if a | b else 1.0


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors; 0.0 where one of them is zero."""
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    lengths = math.hypot(*one) * math.hypot(*other)
    return dot / lengths if lengths else 0.0
