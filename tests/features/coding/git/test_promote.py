"""Promotion: one signed merge commit, delivered to a clean checkout or refused without a trace."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from quarterdeck.features.coding.git.mirror import Mirrors
from quarterdeck.features.coding.git.promote import preview, promote
from quarterdeck.features.coding.git.refusal import ChangeRefused, Reason
from quarterdeck.features.coding.git.rules import TreeRefused
from quarterdeck.features.coding.git.runner import GitFailed
from quarterdeck.features.coding.git.sandbox import create
from quarterdeck.features.coding.git.signing import SigningKey, verify_commit
from quarterdeck.features.coding.git.snapshot import snapshot
from tests.features.coding.git.missions import change, propose
from tests.features.coding.git.repositories import AT, commit, git, make_repository

Place = Callable[[str], Path]
FIX: dict[str, bytes | None] = {"src/app.py": b"def f():\n    return 2\n"}

pytestmark = pytest.mark.req("ORC-11")


def state(repository: Path) -> tuple[str, ...]:
    """All that a refused promotion must leave alone."""
    files = [
        f"{path.relative_to(repository)}={path.read_bytes()!r}"
        for path in sorted(repository.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    ]
    return (
        git(repository, "for-each-ref"),
        git(repository, "rev-parse", "--verify", "--quiet", "HEAD", check=False),
        git(repository, "status", "--porcelain"),
        *files,
    )


async def test_a_clean_checkout_follows_the_signed_merge(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey, tmp_path: Path
) -> None:
    mirror = await mirrors.open(str(repository))
    before = git(repository, "rev-parse", "HEAD")
    (repository / "untracked").write_text("mine")
    proposal = await propose(mirror, "m1", sandboxes("m1"), {**FIX, "new/x.sh": b"#!/bin/sh\n"})
    done = await promote(mirror, proposal, key=key)
    assert git(repository, "rev-parse", "HEAD") == done.commit == done.target_after
    assert done.target_before == before
    assert done.delivered_to == str(repository)
    assert (repository / "src/app.py").read_bytes() == FIX["src/app.py"]
    assert (repository / "new/x.sh").exists()
    assert git(repository, "status", "--porcelain") == "?? untracked"
    assert git(repository, "log", "-1", "--format=%P") == f"{before} {proposal.tip}"
    trailers = git(repository, "log", "-1", "--format=%(trailers:only,unfold)")
    assert trailers.split("\n") == [
        "Mission-Id: m1",
        "Evidence-Digest: sha256:abc",
        "Approved-By: user:owner",
        "Approved-By: user:second",
    ]
    raw = git(repository, "cat-file", "commit", done.commit) + "\n"
    assert verify_commit(raw.encode(), key.public)
    assert not verify_commit(raw.replace("Fix", "Fux").encode(), key.public)
    git(repository, "fsck", "--strict")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
async def test_git_itself_verifies_the_signature(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey, tmp_path: Path
) -> None:
    done = await change(await mirrors.open(str(repository)), "m1", sandboxes("m1"), FIX, key)
    allowed = tmp_path / "allowed_signers"
    allowed.write_text(f"quarterdeck@localhost {key.public}\n")
    setting = f"gpg.ssh.allowedSignersFile={allowed}"
    git(repository, "-c", setting, "verify-commit", done.commit)
    other = SigningKey.load_or_create(tmp_path / "other")
    allowed.write_text(f"quarterdeck@localhost {other.public}\n")
    with pytest.raises(AssertionError):
        git(repository, "-c", setting, "verify-commit", done.commit)


async def test_promoting_twice_gives_the_same_single_commit(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)
    first = await promote(mirror, proposal, key=key)
    assert await promote(mirror, proposal, key=key) == first
    commit(repository, {"later": b"x"}, "Later")
    assert await promote(mirror, proposal, key=key) == first
    assert git(repository, "rev-list", "--merges", "--count", "HEAD") == "1"
    with pytest.raises(ChangeRefused) as caught:
        await promote(mirror, replace(proposal, tip=proposal.expected_target), key=key)
    assert caught.value.reason is Reason.ALREADY_PROMOTED


async def test_a_dirty_checkout_is_refused_by_name_and_left_alone(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)
    (repository / "src/other.py").write_text("mine")
    (repository / "README.md").write_text("staged")
    git(repository, "add", "README.md")
    before = state(repository)
    with pytest.raises(ChangeRefused, match=r"README\.md, src/other\.py") as caught:
        await promote(mirror, proposal, key=key)
    assert caught.value.reason is Reason.DIRTY_CHECKOUT
    assert caught.value.files == ("README.md", "src/other.py")
    assert state(repository) == before
    git(repository, "reset", "-q", "--hard")
    assert (await promote(mirror, proposal, key=key)).target_before == proposal.expected_target


async def test_an_untracked_file_in_the_way_is_not_overwritten(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), {"new.txt": b"theirs"})
    (repository / "new.txt").write_text("mine")
    before = state(repository)
    with pytest.raises(ChangeRefused, match="new.txt") as caught:
        await promote(mirror, proposal, key=key)
    assert caught.value.reason is Reason.DIRTY_CHECKOUT
    assert state(repository) == before


async def test_a_moved_branch_is_refused_until_it_is_proven_again(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)
    moved = commit(repository, {"theirs": b"x"}, "Theirs")
    before = state(repository)
    with pytest.raises(ChangeRefused) as caught:
        await promote(mirror, proposal, key=key)
    assert caught.value.reason is Reason.TARGET_MOVED
    assert state(repository) == before
    assert (await preview(mirror, moved, proposal.tip)).conflicts == ()
    done = await promote(mirror, replace(proposal, expected_target=moved), key=key)
    assert done.target_before == moved
    assert (repository / "theirs").exists()


async def test_a_branch_that_moves_during_the_promotion_is_refused(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)

    def move(point: str) -> None:
        if point == "pinned":
            commit(repository, {"theirs": b"x"}, "Theirs")

    with pytest.raises(ChangeRefused) as caught:
        await promote(mirror, proposal, key=key, reached=move)
    assert caught.value.reason is Reason.TARGET_MOVED
    assert git(repository, "rev-list", "--merges", "--count", "HEAD") == "0"


async def test_a_conflict_names_the_files(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)
    moved = commit(repository, {"src/app.py": b"def f():\n    return 3\n"}, "Theirs")
    before = state(repository)
    with pytest.raises(ChangeRefused, match=r"src/app\.py") as caught:
        await promote(mirror, replace(proposal, expected_target=moved), key=key)
    assert (caught.value.reason, caught.value.files) == (Reason.CONFLICT, ("src/app.py",))
    assert state(repository) == before


async def test_changes_after_the_proof_and_no_changes_are_refused(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)
    sandbox = await create(mirror, "m1", proposal.expected_target, sandboxes("m1"))
    (sandbox.path / "more").write_text("x")
    await snapshot(sandbox, "After the proof", at=AT)
    with pytest.raises(ChangeRefused) as caught:
        await promote(mirror, proposal, key=key)
    assert caught.value.reason is Reason.UNPROVEN_CHANGES
    nothing = await propose(mirror, "m2", sandboxes("m2"), {})
    with pytest.raises(ChangeRefused) as caught:
        await promote(mirror, nothing, key=key)
    assert caught.value.reason is Reason.NOTHING_TO_DO


async def test_a_rebase_under_way_is_refused(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    git(repository, "switch", "-q", "-c", "topic")
    commit(repository, {"src/app.py": b"topic\n"}, "Topic")
    git(repository, "switch", "-q", "main")
    commit(repository, {"src/app.py": b"main\n"}, "Main")
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), {"new": b"x"})
    git(repository, "rebase", "topic", check=False)
    before = state(repository)
    with pytest.raises(ChangeRefused, match="A rebase is under way") as caught:
        await promote(mirror, proposal, key=key)
    assert caught.value.reason is Reason.OPERATION_IN_PROGRESS
    assert state(repository) == before


async def test_a_history_that_was_replaced_is_refused(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)
    git(repository, "switch", "-q", "--orphan", "fresh")
    tip = commit(repository, {"a": b"1"}, "Fresh")
    git(repository, "branch", "-f", "main")
    with pytest.raises(ChangeRefused) as caught:
        await promote(mirror, replace(proposal, expected_target=tip), key=key)
    assert caught.value.reason is Reason.UNRELATED


async def test_bare_shallow_empty_and_new_targets_take_promotions(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey, tmp_path: Path
) -> None:
    bare = make_repository(tmp_path / "bare.git", {"a": b"1"}, bare=True)
    done = await change(await mirrors.open(str(bare)), "bare", sandboxes("bare"), {"b": b"2"}, key)
    assert git(bare, "rev-parse", "main") == done.commit

    commit(repository, {"x": b"1"}, "Second")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", "shallow")
    shallow = tmp_path / "shallow"
    await change(await mirrors.open(str(shallow)), "sh", sandboxes("sh"), {"b": b"2"}, key)
    assert (shallow / "b").read_text() == "2"

    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q", "-b", "trunk")
    await change(
        await mirrors.open(str(tmp_path / "empty")), "em", sandboxes("em"), {"b": b"2"}, key
    )
    assert (tmp_path / "empty" / "b").read_text() == "2"
    assert git(tmp_path / "empty", "status", "--porcelain") == ""

    new = await mirrors.open(None, name="new")
    done = await change(new, "new", sandboxes("new"), {"b": b"2"}, key)
    git(tmp_path, "clone", "-q", str(new.path), "cloned")
    assert (tmp_path / "cloned" / "b").read_text() == "2"


async def test_other_branches_and_linked_work_trees_are_served(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey, tmp_path: Path
) -> None:
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    git(repository, "branch", "parked")
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)
    before = state(repository)[1:]
    parked = await promote(mirror, replace(proposal, branch="parked"), key=key)
    assert git(repository, "rev-parse", "parked") == parked.commit
    (tmp_path / "side/README.md").write_text("dirty")
    with pytest.raises(ChangeRefused) as caught:
        await promote(mirror, replace(proposal, branch="side"), key=key)
    assert caught.value.reason is Reason.DIRTY_CHECKOUT
    git(tmp_path / "side", "checkout", "-q", "README.md")
    await promote(mirror, replace(proposal, branch="side"), key=key)
    assert (tmp_path / "side/src/app.py").read_bytes() == FIX["src/app.py"]
    assert state(repository)[1:] == before


async def test_a_delivery_that_git_left_half_done_is_finished(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)
    done = await promote(mirror, proposal, key=key)
    # Git moves the files first and the branch after: this is what a crash in between leaves.
    git(repository, "update-ref", "refs/heads/main", proposal.expected_target)
    assert git(repository, "status", "--porcelain") == "M  src/app.py"
    assert await promote(mirror, proposal, key=key) == done
    assert git(repository, "rev-parse", "HEAD") == done.commit
    assert git(repository, "status", "--porcelain") == ""


async def test_a_target_that_vanished_is_an_error_and_a_lock_a_refusal(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey, tmp_path: Path
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)
    (repository / ".git/index.lock").write_text("")
    with pytest.raises(ChangeRefused, match=r"index\.lock"):
        await promote(mirror, proposal, key=key)
    assert git(repository, "rev-parse", "HEAD") == proposal.expected_target
    repository.rename(tmp_path / "moved")
    with pytest.raises((GitFailed, FileNotFoundError)):
        await promote(mirror, proposal, key=key)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_target_of_another_user_is_served(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 12345, 12345)
    assert git(repository, "status", check=False) == ""  # git itself refuses here
    done = await change(await mirrors.open(str(repository)), "m1", sandboxes("m1"), FIX, key)
    assert (repository / ".git/refs/heads/main").read_text().strip() == done.commit
    assert (repository / "src/app.py").read_bytes() == FIX["src/app.py"]


async def test_names_that_collide_only_after_the_merge_are_refused(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), {"notes.txt": b"x"})
    moved = commit(repository, {"NOTES.txt": b"y"}, "Theirs")
    with pytest.raises(TreeRefused, match="the same on some systems"):
        await promote(mirror, replace(proposal, expected_target=moved), key=key)


@pytest.mark.slow
async def test_twelve_missions_at_once_lose_nothing(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))

    async def mission(number: int) -> None:
        name = f"m{number}"
        proposal = await propose(
            mirror, name, sandboxes(name), {f"file{number}.txt": name.encode()}
        )
        for _attempt in range(24):
            try:
                await promote(mirror, proposal, key=key)
            except ChangeRefused as refusal:
                assert refusal.reason is Reason.TARGET_MOVED  # noqa: PT017 - others are bugs
                await mirror.refresh()
                tip = (await mirror.branch("main")).tip
                proposal = replace(proposal, expected_target=tip)
            else:
                return
        pytest.fail(f"{name} was never promoted")

    await asyncio.gather(*(mission(number) for number in range(12)))
    assert {path.read_text() for path in repository.glob("file*.txt")} == {
        f"m{number}" for number in range(12)
    }
    assert git(repository, "rev-list", "--merges", "--count", "HEAD") == "12"
    assert git(repository, "status", "--porcelain") == ""
