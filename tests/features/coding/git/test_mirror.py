"""Mirrors: every sort of repository opens or says why not, and the target is only read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from quarterdeck.core.errors import InvalidInput, NotFound
from quarterdeck.features.coding.git.mirror import Mirrors
from quarterdeck.features.coding.git.sandbox import create
from tests.features.coding.git.repositories import commit, git, make_repository


async def test_a_repository_opens_on_the_branch_that_is_checked_out(
    mirrors: Mirrors, repository: Path
) -> None:
    git(repository, "switch", "-q", "-c", "topic/ünï")
    tip = commit(repository, {"x": b"y"}, "On topic")
    mirror = await mirrors.open(str(repository))
    branch = await mirror.branch()
    assert (branch.name, branch.tip) == ("topic/ünï", tip)
    assert (await mirror.branch("main")).tip != tip
    assert await mirror.branches() == ("main", "topic/ünï")


async def test_opening_again_refreshes_and_forgets_deleted_branches(
    mirrors: Mirrors, repository: Path
) -> None:
    git(repository, "branch", "old")
    first = await mirrors.open(str(repository))
    git(repository, "branch", "-D", "old")
    tip = commit(repository, {"x": b"y"}, "Second")
    again = await mirrors.open(f"file://{repository}")
    assert again is first
    assert again.location == str(repository)
    assert await again.branches() == ("main",)
    assert (await again.branch()).tip == tip


async def test_a_linked_work_tree_shares_the_mirror(
    mirrors: Mirrors, repository: Path, tmp_path: Path
) -> None:
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    mirror = await mirrors.open(str(repository))
    side = await mirrors.open(str(tmp_path / "side"))
    assert side.path == mirror.path
    assert (await side.branch()).name == "side"


async def test_bare_dirty_and_sha256_repositories_open(mirrors: Mirrors, tmp_path: Path) -> None:
    bare = make_repository(tmp_path / "bare.git", {"a": b"1"}, bare=True)
    assert (await (await mirrors.open(str(bare))).branch()).name == "main"
    dirty = make_repository(tmp_path / "dirty", {"a": b"1"})
    (dirty / "a").write_text("2")
    assert (await (await mirrors.open(str(dirty))).branch()).exists
    (tmp_path / "long").mkdir()
    git(tmp_path / "long", "init", "-q", "-b", "main", "--object-format=sha256")
    tip = commit(tmp_path / "long", {"a": b"1"}, "First")
    assert (await (await mirrors.open(str(tmp_path / "long"))).branch()).tip == tip
    assert len(tip) == 64


async def test_a_shallow_repository_opens_with_the_history_it_has(
    mirrors: Mirrors, repository: Path, tmp_path: Path
) -> None:
    for number in range(3):
        commit(repository, {"x": str(number).encode()}, f"Commit {number}")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", "shallow")
    mirror = await mirrors.open(str(tmp_path / "shallow"))
    assert mirror.target is not None
    assert mirror.target.shallow
    tip = (await mirror.branch()).tip
    sandbox = await create(mirror, "m1", tip, tmp_path / "m1")
    assert (sandbox.path / "x").read_text() == "2"


async def test_a_repository_without_commits_starts_from_an_empty_tree(
    mirrors: Mirrors, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q", "-b", "trunk")
    branch = await (await mirrors.open(str(tmp_path / "empty"))).branch()
    assert (branch.name, branch.exists) == ("trunk", False)
    with pytest.raises(NotFound, match="no branch 'other'"):
        await (await mirrors.open(str(tmp_path / "empty"))).branch("other")


async def test_a_new_repository_begins_with_an_empty_commit_on_main(mirrors: Mirrors) -> None:
    mirror = await mirrors.open(None, name="m1")
    branch = await mirror.branch()
    assert (branch.name, branch.exists) == ("main", True)
    assert git(mirror.path, "ls-tree", branch.tip) == ""
    again = await mirrors.open(None, name="m1")
    assert again is mirror
    with pytest.raises(InvalidInput, match="name"):
        await mirrors.open(None)


async def test_a_detached_head_asks_for_a_branch(mirrors: Mirrors, repository: Path) -> None:
    git(repository, "switch", "-q", "--detach")
    mirror = await mirrors.open(str(repository))
    with pytest.raises(InvalidInput, match="detached"):
        await mirror.branch()
    assert (await mirror.branch("main")).exists


@pytest.mark.parametrize("name", ["-x", "a..b", "", "a b", "x" * 300, "a\x00", "@{-1}", "x.lock"])
async def test_a_bad_branch_name_is_refused(mirrors: Mirrors, repository: Path, name: str) -> None:
    mirror = await mirrors.open(str(repository))
    with pytest.raises(InvalidInput, match="not a branch name"):
        await mirror.branch(name)


async def test_an_unknown_branch_lists_those_there_are(mirrors: Mirrors, repository: Path) -> None:
    mirror = await mirrors.open(str(repository))
    with pytest.raises(NotFound, match="Its branches: main"):
        await mirror.branch("develop")


@pytest.mark.parametrize(
    "repository",
    [
        "ext::sh -c touch% /tmp/x",
        "git://example.org/x",
        "http://example.org/x",
        "--upload-pack=touch /tmp/x",
        "ssh://-oProxyCommand=touch/x",
        "fd::17/x",
        "",
        "a\x00b",
        "https://[bad",
        "x" * 5000,
    ],
)
async def test_a_bad_location_is_refused_before_git_sees_it(
    mirrors: Mirrors, repository: str
) -> None:
    with pytest.raises((InvalidInput, NotFound)) as caught:
        await mirrors.open(repository)
    assert caught.value.where == "repository"


async def test_missing_plain_and_inner_directories_are_told_apart(
    mirrors: Mirrors, repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="There is no"):
        await mirrors.open(str(tmp_path / "missing"))
    (tmp_path / "plain").mkdir()
    with pytest.raises(InvalidInput, match="not the top of a git repository"):
        await mirrors.open(str(tmp_path / "plain"))
    with pytest.raises(InvalidInput, match="not the top of a git repository"):
        await mirrors.open(str(repository / "src"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInput, match="is a file"):
        await mirrors.open(str(tmp_path / "file"))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(NotFound, match="There is no"):
        await mirrors.open(str(tmp_path / "loop"))


async def test_a_broken_repository_is_a_clear_error_and_no_mirror_is_half_made(
    mirrors: Mirrors, repository: Path
) -> None:
    for place in (repository / ".git/objects").glob("??/*"):
        place.chmod(0o600)
        place.write_bytes(b"garbage")
    with pytest.raises(Exception, match="git fetch|git repository"):
        await mirrors.open(str(repository))


async def test_files_elsewhere_are_refused(
    mirrors: Mirrors, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    git(repository, "config", "core.worktree", str(tmp_path / "elsewhere"))
    with pytest.raises(InvalidInput, match="files elsewhere|work tree"):
        await mirrors.open(str(repository))


async def test_opening_at_once_makes_one_mirror(mirrors: Mirrors, repository: Path) -> None:
    opened = await asyncio.gather(*(mirrors.open(str(repository)) for _ in range(6)))
    others = await asyncio.gather(
        *(Mirrors(opened[0].path.parent).open(str(repository)) for _ in range(3))
    )
    assert {mirror.path for mirror in (*opened, *others)} == {opened[0].path}
    assert [path.name for path in opened[0].path.parent.iterdir() if "git" in path.name] == [
        opened[0].path.name
    ]


async def test_credentials_are_not_shown(mirrors: Mirrors) -> None:
    with pytest.raises(Exception, match="git fetch|git ls-remote") as caught:
        await mirrors.open("https://user:secret@127.0.0.1:9/x.git")
    assert "secret" not in str(caught.value)


async def test_maintenance_keeps_every_mission(mirrors: Mirrors, repository: Path) -> None:
    mirror = await mirrors.open(str(repository))
    tip = (await mirror.branch()).tip
    await mirror.pin("m1", tip)
    await mirror.maintain()
    assert await mirror.commit_at("refs/quarterdeck/m1/base") == tip
