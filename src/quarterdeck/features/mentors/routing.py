"""Decides what kind of thinking a brief asks for, and which installed models to ask (ORC-3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quarterdeck.core.events import Json
from quarterdeck.core.mission import TaskKind
from quarterdeck.features.mentors.models import Installed, best_tag, parameters
from quarterdeck.llm.port import ModelRef

MENTORS_MAX = 5
COUNT_MAX = 3
"""A word repeated more often than this is no further evidence."""

SEED_TABLE: Mapping[TaskKind, tuple[str, ...]] = {
    TaskKind.ARCHITECTURE: ("qwen2.5-coder", "llama3.2"),
    TaskKind.CODE: ("deepseek-coder", "qwen2.5-coder"),
    TaskKind.DEBUGGING: ("qwen2.5-coder", "mistral"),
    TaskKind.PLANNING: ("llama3.2", "qwen2.5"),
    TaskKind.REVIEW: ("mistral", "deepseek-coder"),
}

_WORDS: Mapping[TaskKind, str] = {
    TaskKind.DEBUGGING: r"bugs?|fix(?:es|ed|ing)?|fail(?:s|ed|ing|ures?)?|broken|crash(?:es|ed|ing)?"
    r"|errors?|exceptions?|traceback|regressions?|wrong|debug(?:ging)?|incorrect(?:ly)?|hangs?",
    TaskKind.REVIEW: r"review(?:s|ed|ing)?|audit(?:s|ed)?|assess(?:ment)?|critique|inspect(?:ion)?",
    TaskKind.ARCHITECTURE: r"architectures?|architectural|redesign|microservices?|scalab\w+"
    r"|decoupl\w+|modulari[sz]\w+|boundar(?:y|ies)|schemas?|design(?:s|ed)?",
    TaskKind.PLANNING: r"plan(?:s|ned|ning)?|roadmaps?|milestones?|estimat\w+|prioriti[sz]\w+"
    r"|schedul(?:e|es|ing)|break\s+down|strateg(?:y|ies)",
    TaskKind.CODE: r"implement\w*|add(?:s|ed|ing)?|writ(?:e|es|ing)|creat(?:e|es|ing)|functions?"
    r"|class(?:es)?|endpoints?|features?|refactor\w*|support|scripts?|tests?|apis?",
}
_PATTERNS = {kind: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for kind, words in _WORDS.items()}
_ON_A_TIE = tuple(_WORDS)
"""On equal counts the more specific kind wins: the order in which the words are listed."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The kind of a brief and why; `evidence` counts the words found for each kind."""

    kind: TaskKind
    basis: str
    evidence: Mapping[str, Mapping[str, int]]
    note: str

    def as_json(self) -> dict[str, Json]:
        return {
            "kind": self.kind.value,
            "basis": self.basis,
            "evidence": {kind: dict(words) for kind, words in self.evidence.items()},
            "note": self.note,
        }


def classify(
    brief: str, constraints: Mapping[str, Any], stated: TaskKind | None = None
) -> Classification:
    """The kind of `brief`: what was stated, else what its words say, else code.

    `stated` is the mission's own field; `constraints["task_kind"]` counts as stated too.
    """
    explicit, note = _stated(constraints, stated)
    if explicit is not None:
        return Classification(explicit, "stated", {}, note)
    evidence = {kind.value: words for kind in _ON_A_TIE if (words := _words_of(kind, brief))}
    if not evidence:
        return Classification(
            TaskKind.CODE, "default", {}, f"{note}No telling word was found; code is assumed."
        )
    scores = {kind: sum(words.values()) for kind, words in evidence.items()}
    winner = max(scores, key=lambda kind: scores[kind])
    shown = ", ".join(f"{kind} {score}" for kind, score in scores.items())
    return Classification(TaskKind(winner), "keywords", evidence, f"{note}Words found: {shown}.")


def _stated(constraints: Mapping[str, Any], stated: TaskKind | None) -> tuple[TaskKind | None, str]:
    if stated is not None:
        return stated, "The mission states it."
    named = constraints.get("task_kind")
    if named is None:
        return None, ""
    if isinstance(named, str) and named.lower() in set(TaskKind):
        return TaskKind(named.lower()), "constraints.task_kind states it."
    known = ", ".join(TaskKind)
    return None, f"constraints.task_kind is none of {known} and was not used. "


def _words_of(kind: TaskKind, brief: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for match in _PATTERNS[kind].finditer(brief):
        word = " ".join(match.group().lower().split())
        counts[word] = min(COUNT_MAX, counts.get(word, 0) + 1)
    return counts


@dataclass(frozen=True, slots=True)
class Mentor:
    """A model that is asked; `wanted` is the entry of the table it stands for, if any."""

    ref: ModelRef
    wanted: str | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """Who is asked and why.

    `basis` is `table`, `other_installed`, `bundled` or `nobody`. `missing` names entries of the
    table that are not installed, `refused` cloud models that the workspace does not allow.
    """

    kind: TaskKind
    mentors: tuple[Mentor, ...]
    basis: str
    missing: tuple[str, ...]
    refused: tuple[str, ...]
    note: str

    def as_json(self) -> dict[str, Json]:
        return {
            "kind": self.kind.value,
            "mentors": [str(mentor.ref) for mentor in self.mentors],
            "basis": self.basis,
            "missing": list(self.missing),
            "refused": list(self.refused),
            "note": self.note,
        }


def route(
    kind: TaskKind,
    installed: Sequence[Installed],
    *,
    table: Mapping[TaskKind, tuple[str, ...]] = SEED_TABLE,
    cloud_allowed: bool = False,
) -> Routing:
    """Choose the mentors for `kind` from what is really installed.

    The table's models first; when none of them is there, other local models of different families;
    else the bundled demonstration model; else nobody. A cloud model is only ever asked when the
    table names it and `cloud_allowed` is set: it never fills a gap.
    """
    wanted = tuple(dict.fromkeys(table.get(kind, ())))[:MENTORS_MAX]
    able = [model for model in installed if model.talks]
    permitted = [m for m in able if m.ours or cloud_allowed]
    found = {entry: m for entry in wanted if (m := best_tag(entry, permitted))}
    refused = tuple(e for e in wanted if e not in found and best_tag(e, able))
    missing = tuple(e for e in wanted if e not in found and e not in refused)
    if found:
        note = _note("The table's models were asked.", missing, refused)
        return Routing(kind, _mentors(found), "table", missing, refused, note)
    mentors, basis, said = _instead([m for m in able if m.ours], max(len(wanted), 1))
    return Routing(kind, mentors, basis, missing, refused, _note(said, missing, refused))


def _mentors(found: Mapping[str, Installed]) -> tuple[Mentor, ...]:
    first_entry: dict[ModelRef, str] = {}
    for entry, model in found.items():
        first_entry.setdefault(model.ref, entry)
    return tuple(Mentor(ref, wanted=entry) for ref, entry in first_entry.items())


def _instead(ours: Sequence[Installed], count: int) -> tuple[tuple[Mentor, ...], str, str]:
    real = [m for m in ours if not m.ref.demonstration]
    if real:
        said = "None of the table's models can be asked; other installed local models were."
        return _others(real, count), "other_installed", said
    if ours:
        said = "No local model is installed; the bundled demonstration model was asked."
        return (Mentor(ours[0].ref),), "bundled", said
    return (), "nobody", "No local model is installed; nobody was asked."


def _note(said: str, missing: Sequence[str], refused: Sequence[str]) -> str:
    parts = [said]
    if missing:
        parts.append(f"Not installed: {', '.join(missing)}.")
    if refused:
        parts.append(f"In the cloud, which the workspace does not allow: {', '.join(refused)}.")
    return " ".join(parts)


def _others(local: Sequence[Installed], count: int) -> tuple[Mentor, ...]:
    """The `count` largest, a new family before a second member of one."""
    ranked = sorted(local, key=lambda m: (-parameters(m.ref.name), str(m.ref)))
    firsts: dict[str, Installed] = {}
    for model in ranked:
        firsts.setdefault(model.ref.family, model)
    rest = [model for model in ranked if model not in firsts.values()]
    return tuple(Mentor(model.ref) for model in [*firsts.values(), *rest][:count])
