"""A whole mission in a few lines: sandbox, change, snapshot, proposal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from quarterdeck.features.coding.git.mirror import Mirror
from quarterdeck.features.coding.git.promote import Promotion, Proposal, promote
from quarterdeck.features.coding.git.rollback import Withdrawal
from quarterdeck.features.coding.git.sandbox import create
from quarterdeck.features.coding.git.signing import SigningKey
from quarterdeck.features.coding.git.snapshot import snapshot
from tests.features.coding.git.repositories import AT


async def propose(
    mirror: Mirror, mission_id: str, place: Path, files: Mapping[str, bytes | None]
) -> Proposal:
    """Write `files` (None deletes) in a new sandbox at `place`, and propose the result."""
    branch = await mirror.branch()
    sandbox = await create(mirror, mission_id, branch.tip, place)
    for name, content in files.items():
        if content is None:
            (place / name).unlink()
        else:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
    kept = await snapshot(sandbox, f"Work of {mission_id}", at=AT)
    return proposal(mission_id, branch.name, branch.tip, kept.commit)


def proposal(mission_id: str, branch: str, target: str, tip: str) -> Proposal:
    return Proposal(
        mission_id=mission_id,
        branch=branch,
        expected_target=target,
        tip=tip,
        summary="Fix the thing\nApproved-By: nobody",
        evidence_digest="sha256:abc",
        approved_by=("user:owner", "user:second"),
        at=AT,
    )


def withdrawal(promotion: Promotion, mission_id: str) -> Withdrawal:
    return Withdrawal(
        mission_id=mission_id,
        branch=promotion.branch,
        commit=promotion.commit,
        reason="It was worse",
        approved_by=("user:owner",),
        at=AT,
    )


async def change(
    mirror: Mirror, mission_id: str, place: Path, files: Mapping[str, bytes | None], key: SigningKey
) -> Promotion:
    """Propose and promote at once."""
    return await promote(mirror, await propose(mirror, mission_id, place, files), key=key)
