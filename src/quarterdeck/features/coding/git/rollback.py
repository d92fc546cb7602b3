"""Take a promotion back: its inverse as a new signed commit; history is never rewritten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from quarterdeck.features.coding.git import commits
from quarterdeck.features.coding.git.deliver import deliver
from quarterdeck.features.coding.git.merge import parents, undo
from quarterdeck.features.coding.git.mirror import Branch, Mirror, pin_ref
from quarterdeck.features.coding.git.promote import rollback_name, unheard
from quarterdeck.features.coding.git.refusal import ChangeRefused, LaterCommit, Reason
from quarterdeck.features.coding.git.signing import SigningKey

LATER_MAX = 50


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Which promotion is to be taken back, why and by whom; `at` is the time in the commit."""

    mission_id: str
    branch: str
    commit: str
    reason: str
    approved_by: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Rollback:
    """A rollback that has happened: its commit, the promotion it undid, the tips around it."""

    commit: str
    undone: str
    target_before: str
    target_after: str
    branch: str
    delivered_to: str


async def roll_back(
    mirror: Mirror,
    withdrawal: Withdrawal,
    *,
    key: SigningKey,
    reached: Callable[[str], None] = unheard,
) -> Rollback:
    """Undo exactly one promotion on the branch's present tip and deliver it (ORC-11).

    Run again after a crash it ends with the same single commit. Raises ChangeRefused, the target
    then unchanged; on a conflict it names the files and the later commits that touched them.
    """
    async with mirror.lock():
        await mirror.refresh_locked()
        branch = await mirror.branch(withdrawal.branch)
        await _check_promotion(mirror, withdrawal.commit, branch)
        pin = rollback_name(withdrawal.commit)
        earlier = await mirror.commit_at(pin_ref(withdrawal.mission_id, pin))
        if earlier is not None and await mirror.contains(earlier, branch.tip):
            before = (await parents(mirror, earlier))[0]
            return _done(earlier, before, branch, withdrawal, mirror.location)
        commit = await _inverse_commit(mirror, withdrawal, branch, key)
        reached("committed")
        await mirror.pin(withdrawal.mission_id, commit, pin)
        reached("pinned")
        place = await deliver(mirror, branch, commit)
        reached("delivered")
    return _done(commit, branch.tip, branch, withdrawal, place)


def _done(commit: str, before: str, branch: Branch, withdrawal: Withdrawal, place: str) -> Rollback:
    return Rollback(commit, withdrawal.commit, before, commit, branch.name, place)


async def _check_promotion(mirror: Mirror, commit: str, branch: Branch) -> None:
    known = await mirror.commit_at(commit)
    if known is None or not await mirror.contains(known, branch.tip):
        raise ChangeRefused(
            Reason.NOT_IN_BRANCH,
            f"The commit {commit[:12]} is not in {branch.name}",
            hint="There is nothing to roll back there.",
        )
    if len(await parents(mirror, known)) != 2:
        raise ChangeRefused(
            Reason.NOT_IN_BRANCH,
            f"The commit {commit[:12]} is not a promotion",
            hint="Give the merge commit from the promotion record.",
        )


async def _inverse_commit(
    mirror: Mirror, withdrawal: Withdrawal, branch: Branch, key: SigningKey
) -> str:
    undone = await undo(mirror, branch.tip, withdrawal.commit)
    if undone.conflicts:
        raise ChangeRefused(
            Reason.CONFLICT,
            f"{branch.name} went on from what {withdrawal.mission_id} changed",
            files=undone.conflicts,
            later=await _later(mirror, withdrawal.commit, branch.tip, undone.conflicts),
            hint="Roll back the later changes first, or mend it by hand.",
        )
    if undone.tree == await mirror.tree_of(branch.tip):
        raise ChangeRefused(
            Reason.NOTHING_TO_DO,
            f"{branch.name} has nothing of {withdrawal.mission_id} any more",
            hint="There is nothing to roll back.",
        )
    message = commits.message(
        f"Roll back {withdrawal.mission_id}: {withdrawal.reason}",
        "",
        [
            ("Mission-Id", withdrawal.mission_id),
            ("Rolls-Back", withdrawal.commit),
            *(("Approved-By", name) for name in withdrawal.approved_by),
        ],
    )
    content = commits.content(undone.tree, [branch.tip], message, at=withdrawal.at, key=key)
    return await commits.write(mirror.git, content)


async def _later(
    mirror: Mirror, commit: str, tip: str, files: tuple[str, ...]
) -> tuple[LaterCommit, ...]:
    """The newest commits between a promotion and the tip that touched `files`."""
    ran = await mirror.git.run(
        "log", "-z", f"--max-count={LATER_MAX}", "--no-merges",
        "--format=%H%x1f%s%x1f%(trailers:key=Mission-Id,valueonly,separator=%x2C)",
        f"{commit}..{tip}", "--", *files[:100],
    )  # fmt: skip
    found: list[LaterCommit] = []
    for record in ran.stdout.decode(errors="replace").split("\x00"):
        sha, separator, rest = record.partition("\x1f")
        if separator:
            subject, _, mission = rest.rpartition("\x1f")
            found.append(LaterCommit(sha, subject, mission.strip() or None))
    return tuple(found)
