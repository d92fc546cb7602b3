"""Rounds for models that cannot call tools: they see some files and answer whole files as JSON."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.features.coding.implementers.agent.testing import Tested
from quarterdeck.features.coding.implementers.port import Task
from quarterdeck.features.coding.implementers.tree import SandboxTree

FILES_SHOWN = 6
FILES_ANSWERED = 4
FILE_MAX_CHARS = 16_000
SHOWN_MAX_CHARS = 40_000
SUMMARY_MAX = 400
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,}")
_TEST = re.compile(
    r"(?:^|/)(?:tests?|specs?)(?:/|$)|(?:^|/)(?:test_|conftest)|_test\.|\.(?:test|spec)\."
)
_CODE = re.compile(
    r"\.(?:py|pyi|js|jsx|ts|tsx|go|rs|java|kt|rb|php|c|h|cc|cpp|hpp|cs|swift|scala|ex|exs|lua|sh|sql"
    r"|toml|yaml|yml|json|html|css)$"
)

INSTRUCTIONS = """\
You cannot run anything and cannot look at other files. Answer with one JSON object:
summary: one sentence that says what you change and why.
files: the files you change, each with its path and its whole new content. Copy what you keep.
done: true when nothing more needs to be done."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One file as the model wants it."""

    path: str
    content: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer, read from the JSON its schema allows."""

    summary: str
    edits: tuple[Edit, ...]
    done: bool


def answer_schema() -> dict[str, Any]:
    """The bounded JSON schema of an answer: {summary, files: [{path, content}], done}."""
    file = {
        "type": "object",
        "properties": {
            "path": {"type": "string", "minLength": 1, "maxLength": 200},
            "content": {"type": "string", "maxLength": FILE_MAX_CHARS},
        },
        "required": ["path", "content"],
        "additionalProperties": False,
    }
    return {
        "title": "edits",
        "type": "object",
        "properties": {
            "summary": {"type": "string", "maxLength": SUMMARY_MAX},
            "files": {"type": "array", "items": file, "maxItems": FILES_ANSWERED},
            "done": {"type": "boolean"},
        },
        "required": ["summary", "files", "done"],
        "additionalProperties": False,
    }


def answer_from(parsed: dict[str, Any]) -> Answer:
    """The answer in a JSON object that fits `answer_schema`."""
    edits = tuple(Edit(file["path"], file["content"]) for file in parsed["files"])
    return Answer(parsed["summary"], edits, parsed["done"])


def relevant(files: Sequence[str], task: Task) -> list[str]:
    """The files most likely to matter, best first: named outright, else sharing words with the task.

    Tests are shown last: they tell what is wanted, but are rarely what has to be changed.
    """
    said = " ".join([task.brief, *task.failing, str(dict(task.plan)), str(task.feedback or {})])
    words = {word.casefold() for word in _WORD.findall(said)}
    scored = [(_score(path, said, words), path) for path in files if _CODE.search(path)]
    return [path for score, path in sorted(scored, key=lambda item: (-item[0], item[1]))]


def _score(path: str, said: str, words: set[str]) -> float:
    shared = len(words & {word.casefold() for word in _WORD.findall(path)})
    named = 10.0 if path in said else 0.0
    test = -1.5 if _TEST.search(path) else 0.0
    return named + shared + test - path.count("/") * 0.1


async def shown_files(tree: SandboxTree, task: Task) -> str:
    """The most relevant files with their content, as sections of data, bounded."""
    return await asyncio.to_thread(_shown, tree, task)


def _shown(tree: SandboxTree, task: Task) -> str:
    files = list(tree.files())
    sections: list[str] = []
    size = 0
    for path in relevant(files, task):
        text = _text(tree, path)
        if text is None or size + len(text) > SHOWN_MAX_CHARS:
            continue
        sections.append(f"### File {path}\n```\n{text}\n```")
        size += len(text)
        if len(sections) == FILES_SHOWN:
            break
    others = "\n".join(files[:200])
    return "\n\n".join([*sections, f"### Names of all files\n{others}"])


def _text(tree: SandboxTree, path: str) -> str | None:
    try:
        text = tree.read_text(path)
    except QuarterdeckError:
        return None
    return text if len(text) <= FILE_MAX_CHARS else None


def apply_edits(tree: SandboxTree, edits: Iterable[Edit]) -> list[str]:
    """Write the files; the problems, in words for the model."""
    problems: list[str] = []
    for edit in edits:
        try:
            tree.write(edit.path, edit.content.encode())
        except QuarterdeckError as error:
            problems.append(str(error))
    return problems


def verdict(tested: Tested | None, problems: Sequence[str]) -> str:
    """What the model is told after its edits were made and tested."""
    said = [f"Not written: {problem}" for problem in problems]
    if tested is not None:
        said.append(tested.for_model(6_000))
    return "\n".join(said) or "The files are written. There is no test command."
