"""Three-way merges in memory: no checkout, no driver, no program but git."""

from __future__ import annotations

from dataclasses import dataclass

from quarterdeck.features.coding.git import commits
from quarterdeck.features.coding.git.mirror import Mirror
from quarterdeck.features.coding.git.refusal import ChangeRefused, Reason
from quarterdeck.features.coding.git.runner import GitFailed


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged tree, or (then with marks in it) the files in conflict."""

    tree: str
    conflicts: tuple[str, ...]


async def merge_trees(mirror: Mirror, ours: str, theirs: str) -> Merged:
    """Merge two commits from their common ancestor; raises ChangeRefused when they have none."""
    try:
        ran = await mirror.git.run(
            "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs,
            accept=(0, 1),
        )  # fmt: skip
    except GitFailed as error:
        if "unrelated histories" not in error.line:
            raise
        raise ChangeRefused(
            Reason.UNRELATED,
            "The branch and the mission have no commit in common",
            hint="The branch's history was replaced; start a new mission from it.",
        ) from error
    tree, *files = ran.stdout.decode(errors="surrogateescape").rstrip("\x00").split("\x00")
    return Merged(tree, tuple(files) if ran.exit_code else ())


async def undo(mirror: Mirror, tip: str, merge: str) -> Merged:
    """Merge the inverse of `merge` (towards its first parent) into `tip`, which descends from it.

    The inverse is written as a commit on top of `merge`, so that `merge` is the common ancestor.
    """
    before = await mirror.tree_of((await parents(mirror, merge))[0])
    inverse = commits.content(before, [merge], "Inverse", at=commits.EPOCH)
    return await merge_trees(mirror, tip, await commits.write(mirror.git, inverse))


async def parents(mirror: Mirror, commit: str) -> tuple[str, ...]:
    """The parents of a commit, in order."""
    line = await mirror.git.text("rev-list", "--parents", "--max-count=1", commit)
    return tuple(line.split(" ")[1:])
