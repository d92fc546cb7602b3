"""Bring a new commit to the target's branch: all of it, or nothing and a reason."""

from __future__ import annotations

from quarterdeck.core.errors import Conflict
from quarterdeck.features.coding.git.configuration import EXACT, HARMLESS, TRANSPORT
from quarterdeck.features.coding.git.mirror import Branch, Mirror
from quarterdeck.features.coding.git.refusal import ChangeRefused, Reason
from quarterdeck.features.coding.git.runner import (
    TRANSFER_TIMEOUT_S,
    Git,
    GitFailed,
    Ran,
    complaint,
    hide_credentials,
)
from quarterdeck.features.coding.git.target import (
    Checkout,
    Target,
    checkout_state,
    checkouts,
    examine,
)

_MOVED = ("stale info", "fetch first", "non-fast-forward", "failed to update ref")
_DIRTY = ("unstaged changes", "staged changes", "Could not update working tree", "Up-to-date check")


async def deliver(mirror: Mirror, branch: Branch, commit: str) -> str:
    """Move the target's branch from `branch.tip` to its descendant `commit`; returns where to.

    A clean checkout of the branch follows. A checkout that is dirty or in the middle of something,
    or a branch that has moved, raises ChangeRefused and is left alone. The caller holds the lock.
    """
    target = mirror.target
    expected = branch.tip if branch.exists else ""
    if target is None:
        try:
            await mirror.set_ref(mirror.target_ref(branch.name), commit, expected)
        except Conflict as error:
            raise moved(branch.name) from error
        return mirror.location
    target = await examine(target.location, mirror.home)  # its filters may be others by now
    if not await _finish_half_done(mirror, target, branch, commit):
        await _push(mirror, target, branch.name, commit, expected)
    await mirror.set_ref(mirror.target_ref(branch.name), commit)
    return mirror.location


def moved(branch: str) -> ChangeRefused:
    """The refusal for a branch that is not where it was expected."""
    return ChangeRefused(
        Reason.TARGET_MOVED,
        f"The branch {branch} has moved since the proof",
        hint="Prove the change again on top of it.",
    )


async def _finish_half_done(mirror: Mirror, target: Target, branch: Branch, commit: str) -> bool:
    """Check the checkouts of the branch; finish what a crash of git cut short in one of them.

    Git updates the files first and the branch after. A checkout that differs from its branch by
    exactly our commit is our own delivery, so the branch only has to follow.
    """
    for checkout in await checkouts(target, mirror.home):
        if checkout.branch not in (branch.name, None):
            continue
        state = await checkout_state(target, checkout, mirror.home)
        if state.operation is not None:
            raise ChangeRefused(
                Reason.OPERATION_IN_PROGRESS,
                f"A {state.operation} is under way in {checkout.path}",
                hint="Finish or abort it, then promote again.",
            )
        if checkout.branch is None or not state.dirty:
            continue
        if await _holds(mirror, target, checkout, commit):
            await _move_branch(mirror, target, branch, commit)
            return True
        raise ChangeRefused(
            Reason.DIRTY_CHECKOUT,
            f"The checkout {checkout.path} has changes that are not committed",
            files=state.dirty,
            hint="Commit, stash or discard them, then promote again.",
        )
    return False


async def _holds(mirror: Mirror, target: Target, checkout: Checkout, commit: str) -> bool:
    """Whether index and files of a checkout are exactly those of `commit`."""
    git = target.git(mirror.home, checkout.path)
    for arguments in (
        ("cat-file", "-e", f"{commit}^{{commit}}"),
        ("diff-index", "--cached", "--quiet", "--ignore-submodules", commit),
        ("diff-files", "--quiet", "--ignore-submodules"),
    ):
        if (await git.run(*arguments, accept=(0, 1, 128))).exit_code:
            return False
    return True


async def _move_branch(mirror: Mirror, target: Target, branch: Branch, commit: str) -> None:
    old = branch.tip if branch.exists else "0" * len(commit)
    try:
        await target.git(mirror.home).run(
            "update-ref", "-m", "quarterdeck", f"refs/heads/{branch.name}", commit, old
        )
    except GitFailed as error:
        raise moved(branch.name) from error


async def _push(mirror: Mirror, target: Target, branch: str, commit: str, expected: str) -> None:
    git = Git(mirror.home, git_dir=mirror.path, settings=HARMLESS + EXACT + TRANSPORT)
    ran = await git.run(
        "push", "--porcelain", "--no-verify", "--no-recurse-submodules", "--no-follow-tags",
        f"--force-with-lease=refs/heads/{branch}:{expected}",
        *target.transport("receive-pack", mirror.home),
        "--", target.location, f"{commit}:refs/heads/{branch}",
        timeout_s=TRANSFER_TIMEOUT_S, accept=(0, 1),
    )  # fmt: skip
    if ran.exit_code:
        raise _refusal(ran, branch, mirror.location)


def _refusal(ran: Ran, branch: str, location: str) -> ChangeRefused | GitFailed:
    lines = ran.stdout.decode(errors="replace").split("\n")
    answer = next((line.split("\t")[-1] for line in lines if line.startswith("!")), None)
    if answer is None:
        return GitFailed("push", complaint(ran.stderr), exit_code=ran.exit_code)
    if any(sign in answer for sign in _MOVED):
        return moved(branch)
    said = ran.stderr.decode(errors="replace").split("\n")
    told = [line.strip() for line in said if line.strip() and "failed to push" not in line]
    why = f"{answer}: {' '.join(told)}" if told else answer
    dirty = any(sign in answer for sign in _DIRTY)
    return ChangeRefused(
        Reason.DIRTY_CHECKOUT if dirty else Reason.REJECTED,
        f"{location} did not take the change: {hide_credentials(why)[:600]}",
        hint="Put the checkout in order, then promote again."
        if dirty
        else "See what its git says.",
    )
