"""Reads the simple commands out of a piece of shell script; what is not simple is left out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

LENGTH_MAX = 20_000
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_SEPARATORS = frozenset({"&&", ";", "||"})
_NOT_SIMPLE = re.compile(r"[|<>()`&]|\$[({A-Za-z]|^(if|for|while|case|function|then|else|fi|done)$")
_OUTSIDE = re.compile(r"\$\{\{.*?\}\}")


@dataclass(frozen=True, slots=True)
class Simple:
    """One command: its words, its own variables, the directory from the root and its line (from 1)."""

    words: tuple[str, ...]
    line: int
    env: Mapping[str, str] = field(default_factory=dict)
    directory: str = "."


def simple_commands(script: str, *, first_line: int = 1) -> list[Simple]:
    """The simple commands of a script (or of one line), in order.

    Pipes, redirections, substitutions and control flow are left out: a guess at them would run
    something else than what is written.
    """
    found: list[Simple] = []
    directory = "."
    for text, line in _lines(script[:LENGTH_MAX], first_line):
        for words in _split(text):
            env, words = _assignments(words)
            if not words or any(_NOT_SIMPLE.search(word) for word in words):
                continue
            if words[0] == "cd":
                directory = _joined(directory, words[1]) if len(words) == 2 else directory
                continue
            found.append(Simple(tuple(words), line, env, directory))
    return found


def _lines(script: str, first_line: int) -> Iterator[tuple[str, int]]:
    pending, start = "", first_line
    for number, line in enumerate(script.splitlines(), start=first_line):
        if not pending:
            start = number
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        yield pending + line, start
        pending = ""
    if pending:
        yield pending, start


def _split(text: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(_OUTSIDE.sub("", text).strip(), posix=True, punctuation_chars="&|;<>()")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        words = list(lexer)
    except ValueError:
        return
    current: list[str] = []
    for word in words:
        if word in _SEPARATORS:
            yield current
            current = []
        else:
            current.append(word)
    yield current


def _assignments(words: list[str]) -> tuple[dict[str, str], list[str]]:
    env: dict[str, str] = {}
    rest = words[1:] if words[:1] == ["env"] else words
    while rest and (match := _ASSIGNMENT.fullmatch(rest[0])):
        env[match[1]] = match[2]
        rest = rest[1:]
    return env, rest


def _joined(directory: str, step: str) -> str:
    parts = [part for part in f"{directory}/{step}".split("/") if part not in ("", ".")]
    if step.startswith("/") or ".." in parts:
        return directory
    return "/".join(parts) or "."
