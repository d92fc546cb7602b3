"""Promote a proven mission: one signed merge commit on the target's branch, exactly once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from quarterdeck.features.coding.git import commits
from quarterdeck.features.coding.git.deliver import deliver, moved
from quarterdeck.features.coding.git.merge import Merged, merge_trees, parents
from quarterdeck.features.coding.git.mirror import Branch, Mirror, mission_branch, pin_ref
from quarterdeck.features.coding.git.refusal import ChangeRefused, Reason
from quarterdeck.features.coding.git.signing import SigningKey
from quarterdeck.features.coding.git.snapshot import LIMITS
from quarterdeck.features.coding.git.tree import judge

PROMOTION = "promotion"


def unheard(_point: str) -> None:
    """Nobody wants to know how far it is."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be promoted, as it was proven and approved.

    `expected_target` is the tip of `branch` that the proof was made with, `tip` the proven commit
    of the mission. `at` is the time written into the commit; the same proposal always gives the
    same commit.
    """

    mission_id: str
    branch: str
    expected_target: str
    tip: str
    summary: str
    evidence_digest: str
    approved_by: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion that has happened: the merge commit and the branch's tip before and after."""

    commit: str
    target_before: str
    target_after: str
    branch: str
    delivered_to: str


async def preview(mirror: Mirror, target_tip: str, tip: str) -> Merged:
    """What merging `tip` into `target_tip` would give, for a proof of the merged tree."""
    return await merge_trees(mirror, target_tip, tip)


async def promote(
    mirror: Mirror,
    proposal: Proposal,
    *,
    key: SigningKey,
    reached: Callable[[str], None] = unheard,
) -> Promotion:
    """Merge the mission's branch into the target's branch and deliver it (ORC-11).

    Run again after a crash at any point it ends with the same single merge commit. `reached` is
    told each point passed: committed, pinned, delivered. Raises ChangeRefused, the target then
    unchanged.
    """
    async with mirror.lock():
        await mirror.refresh_locked()
        branch = await mirror.branch(proposal.branch)
        earlier = await _delivered_before(mirror, proposal, branch)
        if earlier is not None:
            return earlier
        commit = await _merge_commit(mirror, proposal, branch, key)
        reached("committed")
        await mirror.pin(proposal.mission_id, commit, PROMOTION)
        reached("pinned")
        place = await deliver(mirror, branch, commit)
        reached("delivered")
    return Promotion(commit, branch.tip, commit, branch.name, place)


async def _delivered_before(mirror: Mirror, proposal: Proposal, branch: Branch) -> Promotion | None:
    """The promotion that an earlier call has already delivered, if its commit is in the branch."""
    commit = await mirror.commit_at(pin_ref(proposal.mission_id, PROMOTION))
    if commit is None or not await mirror.contains(commit, branch.tip):
        return None
    undone = await mirror.commit_at(pin_ref(proposal.mission_id, rollback_name(commit)))
    if undone is not None and await mirror.contains(undone, branch.tip):
        raise ChangeRefused(
            Reason.ROLLED_BACK,
            f"{proposal.mission_id} was promoted and rolled back",
            hint="Start a new mission from the branch as it is now.",
        )
    before, tip = await parents(mirror, commit)
    if tip != proposal.tip:
        raise ChangeRefused(
            Reason.ALREADY_PROMOTED,
            f"{proposal.mission_id} was already promoted with commit {tip[:12]}",
            hint="Start a new mission for further changes.",
        )
    return Promotion(commit, before, commit, branch.name, mirror.location)


def rollback_name(commit: str) -> str:
    """The name of the pin that keeps the rollback of a promotion."""
    return f"rollback-{commit}"


async def _merge_commit(mirror: Mirror, proposal: Proposal, branch: Branch, key: SigningKey) -> str:
    if branch.tip != proposal.expected_target:
        raise moved(branch.name)
    tree = await _merged_tree(mirror, proposal, branch)
    message = commits.message(
        f"Promote {proposal.mission_id}: {proposal.summary}",
        "",
        [
            ("Mission-Id", proposal.mission_id),
            ("Evidence-Digest", proposal.evidence_digest),
            *(("Approved-By", name) for name in proposal.approved_by),
        ],
    )
    content = commits.content(tree, [branch.tip, proposal.tip], message, at=proposal.at, key=key)
    return await commits.write(mirror.git, content)


async def _merged_tree(mirror: Mirror, proposal: Proposal, branch: Branch) -> str:
    name = mission_branch(proposal.mission_id)
    if await mirror.commit_at(f"refs/heads/{name}") != proposal.tip:
        raise ChangeRefused(
            Reason.UNPROVEN_CHANGES,
            f"The branch {name} is not at the proven commit {proposal.tip[:12]}",
            hint="Prove the mission as it is now.",
        )
    merged = await merge_trees(mirror, branch.tip, proposal.tip)
    if merged.conflicts:
        raise ChangeRefused(
            Reason.CONFLICT,
            f"The mission and {branch.name} changed the same places",
            files=merged.conflicts,
            hint="Run the mission again from the branch as it is now.",
        )
    if merged.tree == await mirror.tree_of(branch.tip):
        raise ChangeRefused(
            Reason.NOTHING_TO_DO,
            f"{branch.name} already has all that the mission changed",
            hint="There is nothing to promote.",
        )
    await judge(mirror, branch.tip, merged.tree, LIMITS)
    return merged.tree
