"""What a finished mission tells people: only what its steps have shown (ORC-10)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quarterdeck.core.events import Json

ARTIFACTS_MAX = 50
BASELINE = "baseline"
"""The step that runs the tests before any change: no proof of the result."""
_DEPTH_MAX = 6
_TITLE_CHARS = 120

Outputs = Mapping[str, Mapping[str, Json]]


def notification(mission_id: str, brief: str, outputs: Outputs) -> dict[str, Json]:
    """The payload of `mission.notification.sent` (ORC-13).

    `tests_passed` is None where no step has said whether its tests passed; `proof` names the step
    that said it. `artifacts` lists at most 50 of those that steps have reported.
    """
    step, proof = _last_proof(outputs)
    passed = proof.get("passed")
    known = passed if isinstance(passed, bool) else None
    artifacts = list(_artifacts(outputs, 0))
    unique = list({one["sha256"]: one for one in artifacts}.values())[:ARTIFACTS_MAX]
    return {
        "mission_id": mission_id,
        "tests_passed": known,
        "artifacts_available": bool(unique),
        "artifacts": unique,
        "proof": step,
        "message": _message(mission_id, brief, known, proof),
    }


def _last_proof(outputs: Outputs) -> tuple[str | None, Mapping[str, Json]]:
    proofs = [(s, output) for s, output in outputs.items() if "passed" in output and s != BASELINE]
    return proofs[-1] if proofs else (None, {})


def _message(mission_id: str, brief: str, passed: bool | None, proof: Mapping[str, Json]) -> str:
    title = next((line.strip() for line in brief.splitlines() if line.strip()), mission_id)
    shown = title if len(title) <= _TITLE_CHARS else f"{title[: _TITLE_CHARS - 1]}…"
    said = {
        True: "The tests passed.",
        False: "The tests did not pass.",
        None: "Nothing has shown whether the tests pass.",
    }[passed]
    return " ".join(part for part in (f"{shown} ({mission_id}):", said, _counts(proof)) if part)


def _counts(proof: Mapping[str, Json]) -> str:
    """The proof's own counts, when it gives them as numbers."""
    counts = proof.get("counts")
    if not isinstance(counts, Mapping):
        return ""
    shown = [
        f"{counts[name]} {name}"
        for name in ("passed", "failed", "errors", "skipped")
        if isinstance(counts.get(name), int) and not isinstance(counts[name], bool)
    ]
    return f"Counted: {', '.join(shown)}." if shown else ""


def _artifacts(value: Any, depth: int) -> Iterator[dict[str, Json]]:
    """Every artifact reference in the outputs, however deep a step has put it (to a limit)."""
    if depth > _DEPTH_MAX:
        return
    if isinstance(value, Mapping):
        if isinstance(value.get("sha256"), str) and ("name" in value or "path" in value):
            yield {key: value.get(key) for key in ("name", "path", "sha256", "media_type", "size")}
            return
        for item in value.values():
            yield from _artifacts(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _artifacts(item, depth + 1)
