"""What a mission taught, written only after its outcome is known (ORC-12)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from quarterdeck.core.events import Json
from quarterdeck.core.mission import Mission

PROBLEM_CHARS = 1_000
APPROACH_CHARS = 1_000
EVIDENCE_MAX = 20
BASELINE = "baseline"
_VALUE_CHARS = 200

Outputs = Mapping[str, Mapping[str, Json]]


def lesson(
    mission: Mission,
    outputs: Outputs,
    *,
    outcome: str | None = None,
    cost: Mapping[str, Json] | None = None,
    duration_s: float | None = None,
) -> dict[str, Json]:
    """The record of a mission: problem, approach, outcome, evidence, cost, duration (seconds).

    `outcome` overrides what the outputs show; None where something is unknown.
    """
    agreed = outputs.get("agree", {})
    ended = outcome or outcome_of(outputs)
    return {
        "mission_id": mission.id,
        "problem": mission.brief[:PROBLEM_CHARS],
        "approach": _approach(agreed),
        "outcome": ended,
        "upheld": upheld_by(ended),
        "evidence": evidence_of(outputs),
        "cost": dict(cost) if cost is not None else None,
        "duration_s": duration_s,
        "task_kind": agreed.get("task_kind"),
        "agreement": agreed.get("agreement_bucket"),
    }


def outcome_of(outputs: Outputs) -> str:
    """`rolled_back`, `promoted`, `rejected`, `proved`, `not_proved` or `unknown`, as shown."""
    if any(output.get("rolled_back") is True for output in outputs.values()):
        return "rolled_back"
    if any(output.get("promoted") is True for output in outputs.values()):
        return "promoted"
    if any(_is_rejected(output) for output in outputs.values()):
        return "rejected"
    proof = last_proof(outputs)
    if proof is None or not isinstance(proof[1].get("passed"), bool):
        return "unknown"
    return "proved" if proof[1]["passed"] else "not_proved"


def _is_rejected(output: Mapping[str, Json]) -> bool:
    """Whether a person said no at this step."""
    return (
        output.get("approved") is False
        or output.get("rejected") is True
        or output.get("outcome") == "rejected"
    )


def upheld_by(outcome: str) -> bool | None:
    """Whether the outcome upholds the mentors' advice: promoted and not rolled back.

    None where nobody has decided: a proved result that nobody promoted says nothing yet.
    """
    known = {"promoted": True, "rolled_back": False, "rejected": False, "not_proved": False}
    return known.get(outcome)


def last_proof(outputs: Outputs) -> tuple[str, Mapping[str, Json]] | None:
    """The last step that says whether it passed, other than the baseline before any change."""
    proofs = [(s, output) for s, output in outputs.items() if "passed" in output and s != BASELINE]
    return proofs[-1] if proofs else None


def evidence_of(outputs: Outputs) -> dict[str, Json] | None:
    """The facts of the last proof that fit on a line; None without a proof."""
    proof = last_proof(outputs)
    if proof is None:
        return None
    step, output = proof
    facts = {key: value for key, value in output.items() if _is_short(value)}
    return {"step": step, **dict(list(facts.items())[:EVIDENCE_MAX])}


def cost_of(calls: Iterable[Mapping[str, Any]]) -> dict[str, Json]:
    """What the model calls of a mission took, from the data of its `model.called` events.

    Token sums count what is known; `unmeasured` is the number of calls that did not say, and
    `unpriced` of those without a price: the sums are lower bounds then.
    """
    listed = list(calls)
    prices = [_decimal(call.get("price")) for call in listed]
    return {
        "model_calls": len(listed),
        "input_tokens": sum(call.get("input_tokens") or 0 for call in listed),
        "output_tokens": sum(call.get("output_tokens") or 0 for call in listed),
        "unmeasured": sum(call.get("output_tokens") is None for call in listed),
        "price": str(sum((price for price in prices if price is not None), Decimal(0))),
        "unpriced": sum(price is None for price in prices),
    }


def _decimal(value: Any) -> Decimal | None:
    try:
        return Decimal(str(value)) if value is not None else None
    except InvalidOperation:
        return None


def _approach(agreed: Mapping[str, Any]) -> str | None:
    consensus = agreed.get("consensus") or {}
    quote = consensus.get("quote")
    if not quote:
        return None
    said = f"{consensus.get('approach')}: {quote['text']} ({agreed.get('tally')})"
    return said[:APPROACH_CHARS]


def _is_short(value: Json) -> bool:
    if isinstance(value, str):
        return len(value) <= _VALUE_CHARS
    return isinstance(value, bool | int | float)
