"""The documents of this feature as they are stored (DOC-2), and what steps read from one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from quarterdeck.core.events import Json
from quarterdeck.core.mission import Mission
from quarterdeck.features.mentors.consensus import (
    Ballot,
    Consensus,
    consensus_json,
    recommendation,
    stance,
)
from quarterdeck.features.mentors.opinion import Opinion
from quarterdeck.features.mentors.prompt import Material, Prompt, shortened
from quarterdeck.features.mentors.roundtable import Answered
from quarterdeck.features.mentors.routing import Classification

EVIDENCE_CHARS = 6_000
BASELINE = "baseline"
"""The step that runs the tests before any change: what fails there is the task, not a result."""

Outputs = Mapping[str, Mapping[str, Json]]


def as_bytes(document: Mapping[str, Json]) -> bytes:
    """A document as the file that people read: indented JSON, one final newline."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def brief_document(mission: Mission, classification: Classification) -> dict[str, Json]:
    """`brief_ID.json`: what was asked for, and what kind of task it was taken for."""
    return {
        "mission_id": mission.id,
        "workspace": mission.workspace,
        "brief": mission.brief,
        "constraints": mission.constraints,
        "auto_implement": mission.auto_implement,
        "repository": mission.repository,
        "target_branch": mission.target_branch,
        "severity": mission.severity.value,
        "created_by": mission.created_by,
        "created_at": mission.created_at,
        "classification": classification.as_json(),
        "is_standard_training": True,
    }


def response_document(
    mission_id: str, answered: Answered, prompt: Prompt, *, asked_at: str, task_kind: str
) -> dict[str, Json]:
    """`MODEL_response.json`: everything that one mentor was asked and said (ORC-4)."""
    ref = answered.mentor.ref
    return {
        "mission_id": mission_id,
        "model": str(ref),
        "family": ref.family,
        "demonstration": ref.demonstration,
        "task_kind": task_kind,
        "stands_for": answered.mentor.wanted,
        "asked_at": asked_at,
        "prompt": {"system": prompt.system, "user": prompt.user},
        "samples": [sample.as_json() for sample in answered.samples],
        "latency_ms": answered.latency_ms,
        "tokens": {
            "input": total([sample.input_tokens for sample in answered.samples]),
            "output": total([sample.output_tokens for sample in answered.samples]),
        },
        "confidence": self_confidence(answered),
        "error": answered.problem(),
    }


def total(counts: Sequence[int | None]) -> int | None:
    """The sum, or None when a part of it is unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if counts and len(known) == len(counts) else None


def self_confidence(answered: Answered) -> dict[str, Json]:
    """How much a mentor agrees with itself over its samples; one sample shows nothing."""
    ballot = Ballot(str(answered.mentor.ref), answered.mentor.ref.family, answered.opinions)
    position = stance(ballot)
    value = position.agreement if position else None
    note = "The share of its own samples with the same first choice, not a probability."
    if value is None:
        note = f"Nothing to compare: {len(ballot.voting)} of {len(answered.samples)} samples vote."
    return {
        "value": value,
        "basis": "agreement",
        "calibrated": False,
        "n_outcomes": 0,
        "note": note,
    }


def answer_outputs(answered: Answered, artifact_sha256: str, path: str) -> dict[str, Json]:
    """What later steps read about one mentor; bounded, the texts stay in the artifact."""
    ref = answered.mentor.ref
    return {
        "model": str(ref),
        "family": ref.family,
        "demonstration": ref.demonstration,
        "opinions": [opinion.model_dump(mode="json") for opinion in answered.opinions],
        "samples": len(answered.samples),
        "latency_ms": answered.latency_ms,
        "confidence": self_confidence(answered),
        "error": answered.problem(),
        "artifact": {"sha256": artifact_sha256, "path": path},
    }


def ballots_from(
    answers: Sequence[Mapping[str, Any]], weights: Mapping[str, float]
) -> list[Ballot]:
    """The votes that `answer_outputs` holds; `weights` by model."""
    return [
        Ballot(
            model=answer["model"],
            family=answer["family"],
            opinions=tuple(Opinion.model_validate(one) for one in answer["opinions"]),
            error=answer["error"],
            weight=weights.get(answer["model"], 1.0),
            demonstration=answer["demonstration"],
        )
        for answer in answers
    ]


def summary(
    result: Consensus, confidence: Mapping[str, Json], answers: Sequence[Mapping[str, Any]]
) -> dict[str, Json]:
    """The round table for people and later steps: consensus, positions, dissent, average."""
    own = [a["confidence"]["value"] for a in answers if a["confidence"]["value"] is not None]
    return {
        "status": result.status,
        "tally": result.tally,
        "consensus": consensus_json(result),
        "confidence": dict(confidence),
        "average_confidence": sum(own) / len(own) if own else None,
        "recommendations": [recommendation(one) for one in result.stances],
        "dissent": [recommendation(one) for one in result.dissent],
        "silent": [
            {"model": b.model, "abstained": b.abstained, "error": b.error} for b in result.silent
        ],
        "demonstration": any(answer["demonstration"] for answer in answers),
    }


def material(mission: Mission, outputs: Outputs, *, failing: str = "", diff: str = "") -> Material:
    """What is known when a prompt is built: the brief, the target's summary, recalled lessons.

    Without `failing` it is what the baseline shows to be red.
    """
    target = outputs.get("target", {})
    summary_of = target.get("summary", target)
    lessons = outputs.get("recall", {}).get("lessons", [])
    return Material(
        brief=mission.brief,
        constraints=mission.constraints,
        repository=summary_of if isinstance(summary_of, Mapping) else {},
        failing=failing or failing_text(outputs.get(BASELINE, {})),
        diff=diff,
        lessons=[_lesson_line(lesson) for lesson in lessons if isinstance(lesson, Mapping)],
    )


def _lesson_line(lesson: Mapping[str, Any]) -> str:
    outcome = lesson.get("outcome") or "outcome unknown"
    age = lesson.get("age_days")
    aged = f", {age:.0f} days ago" if isinstance(age, int | float) else ""
    return f"({outcome}{aged}) {lesson.get('text', '')}"


def failing_text(proof: Mapping[str, Json]) -> str:
    """What failed, as text for a prompt: the failures, else the reasons, else the output's end."""
    for key in ("failures", "failing", "reasons", "reason", "output"):
        value = proof.get(key)
        if value:
            return shortened(_text(value), EVIDENCE_CHARS)
    return ""


def _text(value: Json) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_text(one) for one in value)
    return orjson.dumps(value).decode()
