"""Rollback: the inverse of one promotion as a new commit, or the names of what stands in its way."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck.features.coding.git.mirror import Mirrors
from quarterdeck.features.coding.git.promote import promote
from quarterdeck.features.coding.git.refusal import ChangeRefused, Reason
from quarterdeck.features.coding.git.rollback import roll_back
from quarterdeck.features.coding.git.signing import SigningKey, verify_commit
from tests.features.coding.git.missions import change, propose, withdrawal
from tests.features.coding.git.repositories import commit, git, make_repository

Place = Callable[[str], Path]
FIX: dict[str, bytes | None] = {"src/app.py": b"def f():\n    return 2\n", "new": b"x"}

pytestmark = pytest.mark.req("ORC-11")


async def test_a_rollback_takes_back_one_mission_and_keeps_what_came_after(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    done = await change(mirror, "m1", sandboxes("m1"), FIX, key)
    later = commit(repository, {"src/other.py": b"X = 2\n"}, "Later")
    back = await roll_back(mirror, withdrawal(done, "m1"), key=key)
    assert git(repository, "log", "-1", "--format=%P") == later == back.target_before
    assert (repository / "src/app.py").read_bytes() == b"def f():\n    return 1\n"
    assert not (repository / "new").exists()
    assert (repository / "src/other.py").read_bytes() == b"X = 2\n"
    raw = git(repository, "cat-file", "commit", back.commit) + "\n"
    assert verify_commit(raw.encode(), key.public)
    assert f"Rolls-Back: {done.commit}" in raw
    assert await roll_back(mirror, withdrawal(done, "m1"), key=key) == back


async def test_a_mission_that_was_rolled_back_is_not_promoted_again(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)
    done = await promote(mirror, proposal, key=key)
    await roll_back(mirror, withdrawal(done, "m1"), key=key)
    with pytest.raises(ChangeRefused) as caught:
        await promote(mirror, proposal, key=key)
    assert caught.value.reason is Reason.ROLLED_BACK


async def test_a_conflict_names_the_files_and_the_later_commits(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    done = await change(mirror, "m1", sandboxes("m1"), FIX, key)
    by_hand = commit(repository, {"src/app.py": b"def f():\n    return 5\n"}, "By hand")
    mirror = await mirrors.open(str(repository))
    await change(mirror, "m2", sandboxes("m2"), {"src/app.py": b"def f():\n    return 6\n"}, key)
    tip = git(repository, "rev-parse", "HEAD")
    with pytest.raises(ChangeRefused) as caught:
        await roll_back(mirror, withdrawal(done, "m1"), key=key)
    refusal = caught.value
    assert (refusal.reason, refusal.files) == (Reason.CONFLICT, ("src/app.py",))
    assert [(one.subject, one.mission_id) for one in refusal.later] == [
        ("Work of m2", "m2"),
        ("By hand", None),
    ]
    assert refusal.later[1].commit == by_hand
    assert git(repository, "rev-parse", "HEAD") == tip


async def test_what_is_not_there_or_not_a_promotion_is_refused(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    done = await change(mirror, "m1", sandboxes("m1"), FIX, key)
    asked = withdrawal(done, "m1")
    for wrong in ("1" * 40, done.target_before):
        with pytest.raises(ChangeRefused) as caught:
            await roll_back(mirror, replace(asked, commit=wrong), key=key)
        assert caught.value.reason is Reason.NOT_IN_BRANCH
    commit(repository, {"src/app.py": b"def f():\n    return 1\n"}, "Undo by hand")
    (repository / "new").unlink()
    commit(repository, {}, "Undo the rest")
    with pytest.raises(ChangeRefused) as caught:
        await roll_back(mirror, asked, key=key)
    assert caught.value.reason is Reason.NOTHING_TO_DO


async def test_a_dirty_checkout_is_refused(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey
) -> None:
    mirror = await mirrors.open(str(repository))
    done = await change(mirror, "m1", sandboxes("m1"), FIX, key)
    (repository / "README.md").write_text("mine")
    with pytest.raises(ChangeRefused) as caught:
        await roll_back(mirror, withdrawal(done, "m1"), key=key)
    assert caught.value.reason is Reason.DIRTY_CHECKOUT
    assert git(repository, "rev-parse", "HEAD") == done.commit


NAMES = st.sampled_from(["a", "b.txt", "dir/c", "dir/ü", "dir/sub/d", "e f"])
CHANGES = st.dictionaries(NAMES, st.binary(max_size=40) | st.none(), max_size=6)
FILES = st.dictionaries(NAMES, st.binary(max_size=40), min_size=1, max_size=6)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(files=FILES, changes=CHANGES)
def test_promote_then_roll_back_gives_the_original_tree(
    files: dict[str, bytes], changes: dict[str, bytes | None]
) -> None:
    changes = {name: new for name, new in changes.items() if new is not None or name in files}
    if all(files.get(name) == new for name, new in changes.items()):
        return  # nothing to promote
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(_there_and_back(Path(scratch), files, changes))


async def _there_and_back(
    place: Path, files: dict[str, bytes], changes: dict[str, bytes | None]
) -> None:
    repository = make_repository(place / "target", files)
    before = git(repository, "rev-parse", "HEAD^{tree}")
    key = SigningKey.load_or_create(place / "key")
    mirror = await Mirrors(place / "mirrors").open(str(repository))
    done = await change(mirror, "m1", place / "m1", changes, key)
    assert git(repository, "rev-parse", "HEAD^{tree}") != before
    await roll_back(mirror, withdrawal(done, "m1"), key=key)
    assert git(repository, "rev-parse", "HEAD^{tree}") == before
    assert git(repository, "status", "--porcelain") == ""
