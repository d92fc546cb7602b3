"""Cuts what is remembered into pieces of at most about 256 tokens, losing nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

TOKENS_MAX = 256
CHUNKS_MAX = 400
TEXT_BYTES_MAX = 4 * 1024 * 1024
_CHARS_PER_TOKEN = 4
_PIECE = re.compile(r"\s*(?:[^\s\w]|\w+)\s*|\s+")
_TEXT_TYPES = ("text/", "application/json", "application/xml", "application/yaml")
_LEFT_OUT = frozenset({"prompt", "sha256", "artifact", "is_standard_training"})
"""Keys of our own documents that repeat other documents or say nothing to a reader."""


def tokens_in(text: str) -> int:
    """About how many tokens a model's tokenizer makes of `text`; rather too many than too few.

    A mark counts one, a word one per four characters begun, a character beyond ASCII one.
    """
    return sum(_cost(match.group()) for match in _PIECE.finditer(text))


def _cost(piece: str) -> int:
    word = piece.strip()
    if not word.isascii():
        return len(word)
    return -(-len(word) // _CHARS_PER_TOKEN)


def chunks(text: str, *, tokens_max: int = TOKENS_MAX) -> list[str]:
    """The text in pieces of at most `tokens_max` tokens, cut at line ends where that is possible.

    Joined, the pieces are the text again.
    """
    found: list[str] = []
    current, used = "", 0
    for part, cost in _parts(text, tokens_max):
        if current and used + cost > tokens_max:
            found.append(current)
            current, used = "", 0
        current, used = current + part, used + cost
    return [*found, current] if current else found


def _parts(text: str, tokens_max: int) -> Iterator[tuple[str, int]]:
    """Lines; a line that is too long in words; a word that is too long in slices."""
    for line in text.splitlines(keepends=True):
        cost = tokens_in(line)
        if cost <= tokens_max:
            yield line, cost
            continue
        for match in _PIECE.finditer(line):
            piece = match.group()
            for start in range(0, len(piece), tokens_max):
                part = piece[start : start + tokens_max]
                yield part, _cost(part)


def readable(content: bytes, media_type: str) -> str | None:
    """The words of an artifact: JSON as `key: value` lines, other text as it is, else None."""
    if len(content) > TEXT_BYTES_MAX or not media_type.startswith(_TEXT_TYPES):
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    if media_type.startswith("application/json"):
        try:
            return "\n".join(_lines(orjson.loads(content), ""))
        except orjson.JSONDecodeError:
            return text.replace("\x00", " ")
    return text.replace("\x00", " ")


def _lines(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in _LEFT_OUT:
                yield from _lines(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _lines(item, name)
    elif isinstance(value, str) and value.strip():
        said = value.replace("\x00", " ")
        yield f"{name}: {said}" if name else said
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield f"{name}: {value}"
