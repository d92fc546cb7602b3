"""Where a mission stands: on which base, with which proof and approval, promoted or not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quarterdeck.core.events import Json

Outputs = Mapping[str, Mapping[str, Json]]


def base_sha(outputs: Outputs) -> str:
    """The commit that the change is made on: the target's tip, or the one it was put on later."""
    return str([o["base_sha"] for s, o in outputs.items() if _is_base(s, o)][-1])


def _is_base(step: str, outputs: Mapping[str, Json]) -> bool:
    return (step == "target" or step.startswith("rebase")) and "base_sha" in outputs


def change_before(needs: Sequence[str], outputs: Outputs) -> Mapping[str, Json] | None:
    """The change that one of `needs` (an `implement` or `rebase` step) made, if any."""
    made = [outputs.get(need, {}) for need in needs if need.startswith(("implement", "rebase"))]
    return made[-1] if made and "commit" in made[-1] else None


def approval_before(needs: Sequence[str], outputs: Outputs) -> Mapping[str, Json]:
    """The outputs of the approval that one of `needs` is."""
    return [outputs[need] for need in needs if "approved" in outputs.get(need, {})][-1]


def promotion(outputs: Outputs) -> Mapping[str, Json]:
    """The outputs of the step that promoted; empty when nothing was promoted."""
    found = [o for s, o in outputs.items() if s.startswith("promote") and o.get("promoted") is True]
    return found[-1] if found else {}


def proofs_since_base(outputs: Outputs) -> int:
    """How many proofs were made on the present base."""
    order = list(outputs)
    bases = [i for i, s in enumerate(order) if _is_base(s, outputs[s])]
    since = order[bases[-1] :] if bases else order
    return sum(step.startswith("verify") for step in since)


def ordinal(kind: str, outputs: Outputs) -> int:
    """The number of the next step of a kind: 2 when the recipe's own is the only one over."""
    return 1 + sum(step == kind or step.startswith(f"{kind}_") for step in outputs)
