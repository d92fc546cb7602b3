"""Sandboxes: made whole, kept byte for byte, refused with a reason, removed without loss."""

from __future__ import annotations

import asyncio
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from quarterdeck.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from quarterdeck.features.coding.git.diff import diff
from quarterdeck.features.coding.git.mirror import Mirror, Mirrors
from quarterdeck.features.coding.git.rules import SnapshotLimits, TreeRefused
from quarterdeck.features.coding.git.sandbox import (
    Sandbox,
    UnkeptChanges,
    create,
    empty_trash,
    find,
    remove,
)
from quarterdeck.features.coding.git.snapshot import snapshot
from quarterdeck.features.coding.git.tree import (
    checkout_clean,
    entries,
    export_zip,
    read_file,
    restore,
)
from tests.features.coding.git.repositories import AT, commit, git, make_repository

Place = Callable[[str], Path]


@pytest.fixture
async def mirror(mirrors: Mirrors, repository: Path) -> Mirror:
    return await mirrors.open(str(repository))


@pytest.fixture
async def sandbox(mirror: Mirror, sandboxes: Place) -> Sandbox:
    return await create(mirror, "m1", (await mirror.branch()).tip, sandboxes("m1"))


@pytest.mark.req("ORC-6")
async def test_a_sandbox_has_the_files_and_no_git_directory(sandbox: Sandbox) -> None:
    assert (sandbox.path / "src/app.py").read_bytes() == b"def f():\n    return 1\n"
    assert not (sandbox.path / ".git").exists()
    assert sandbox.branch == "mission-m1"
    assert await sandbox.mirror.commit_at("refs/heads/mission-m1") == sandbox.base
    assert await sandbox.mirror.commit_at("refs/quarterdeck/m1/base") == sandbox.base


async def test_the_throw_away_git_works_and_knows_one_commit(
    mirror: Mirror, sandboxes: Place
) -> None:
    base = (await mirror.branch()).tip
    made = await create(mirror, "m1", base, sandboxes("m1"), agent_git=True)
    assert git(made.path, "status", "--porcelain") == ""
    assert git(made.path, "log", "--format=%H") == base
    git(made.path, "commit", "-q", "--allow-empty", "-m", "mine")
    (made.path / ".git" / "HEAD").write_text("nonsense")
    assert not (await snapshot(made, "Nothing", at=AT)).changed


async def test_creating_again_returns_the_same_and_another_base_is_a_conflict(
    sandbox: Sandbox, repository: Path, mirrors: Mirrors
) -> None:
    (sandbox.path / "mine.txt").write_text("kept")
    again = await create(sandbox.mirror, "m1", sandbox.base, sandbox.path)
    assert (again.path / "mine.txt").read_text() == "kept"
    assert (await find(sandbox.mirror, "m1")).base == sandbox.base
    other = commit(repository, {"x": b"y"}, "Second")
    mirror = await mirrors.open(str(repository))
    with pytest.raises(Conflict, match="already has a sandbox"):
        await create(mirror, "m1", other, sandbox.path)


async def test_a_directory_of_somebody_else_is_not_touched(
    mirror: Mirror, sandboxes: Place
) -> None:
    place = sandboxes("m1")
    place.mkdir()
    (place / "theirs").write_text("x")
    with pytest.raises(Conflict, match="already"):
        await create(mirror, "m1", (await mirror.branch()).tip, place)
    assert os.listdir(place) == ["theirs"]


@pytest.mark.parametrize("mission_id", ["../x", ".git", "-rf", "a/b", "", "a\x00b", "A", "x" * 65])
async def test_a_strange_mission_id_is_refused(
    mirror: Mirror, sandboxes: Place, mission_id: str
) -> None:
    with pytest.raises(InvalidInput, match="not a valid id"):
        await create(mirror, mission_id, (await mirror.branch()).tip, sandboxes("m1"))


async def test_an_unknown_base_is_named(mirror: Mirror, sandboxes: Place) -> None:
    with pytest.raises(NotFound, match="no commit"):
        await create(mirror, "m1", "1" * 40, sandboxes("m1"))
    with pytest.raises(InvalidInput, match="full commit id"):
        await create(mirror, "m1", "--help", sandboxes("m1"))


async def test_what_was_written_is_kept_byte_for_byte(sandbox: Sandbox, tmp_path: Path) -> None:
    written = {
        "crlf.txt": b"one\r\ntwo\r\n",
        "mixed.txt": b"one\r\ntwo\n\r",
        "ident.txt": b"$Id$\n",
        "binary.bin": bytes(range(256)) * 9,
        "utf16.txt": "wörld".encode("utf-16"),
        ".gitattributes": b"* text=auto eol=crlf ident working-tree-encoding=UTF-16 export-ignore\n"
        b"*.txt export-subst\n",
        "subst.txt": b"$Format:%H$\n",
        "ünïcode/日本 語.txt": b"name\n",
        "odd\nname\t'\" $(x) \\.txt": b"odd\n",
        "-rf": b"dash\n",
        ":(glob)*": b"magic\n",
    }
    for name, content in written.items():
        (sandbox.path / name).parent.mkdir(exist_ok=True)
        (sandbox.path / name).write_bytes(content)
    Path(os.fsdecode(os.fsencode(sandbox.path) + b"/latin-\xe9")).write_bytes(b"raw\n")
    (sandbox.path / "run.sh").write_text("#!/bin/sh\n")
    (sandbox.path / "run.sh").chmod(0o755)
    (sandbox.path / "link").symlink_to("src/app.py")
    kept = await snapshot(sandbox, "Odd files", at=AT)
    await checkout_clean(sandbox.mirror, kept.commit, tmp_path / "clean")
    for name, content in written.items():
        assert (tmp_path / "clean" / name).read_bytes() == content, name
    assert Path(os.fsdecode(os.fsencode(tmp_path) + b"/clean/latin-\xe9")).exists()
    assert os.access(tmp_path / "clean/run.sh", os.X_OK)
    assert os.readlink(tmp_path / "clean/link") == "src/app.py"
    assert "latin-\\xe9" in {file.path for file in kept.files}
    await export_zip(sandbox.mirror, kept.commit, tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.read("subst.txt") == written["subst.txt"]
        assert archive.read("crlf.txt") == written["crlf.txt"]
        assert archive.read("ident.txt") == written["ident.txt"]


async def test_a_snapshot_tells_what_changed(sandbox: Sandbox) -> None:
    (sandbox.path / "src/app.py").write_text("def f():\n    return 2\n    # more\n")
    (sandbox.path / "src/other.py").rename(sandbox.path / "src/moved.py")
    (sandbox.path / "data.bin").write_bytes(b"\x00\x01")
    (sandbox.path / "build").mkdir()
    (sandbox.path / "build/out").write_text("ignored")
    (sandbox.path / "__pycache__").mkdir()
    (sandbox.path / "__pycache__/x.pyc").write_text("ignored")
    kept = await snapshot(sandbox, "Change it\nMission-Id: forged", at=AT)
    found = {file.path: (file.kind.value, file.lines_added, file.old_path) for file in kept.files}
    assert found == {
        "data.bin": ("added", None, None),
        "src/app.py": ("modified", 2, None),
        "src/moved.py": ("renamed", 0, "src/other.py"),
    }
    assert (kept.stats.files, kept.stats.lines_added, kept.stats.lines_deleted) == (3, 2, 1)
    again = await snapshot(sandbox, "Again", at=AT)
    assert (again.commit, again.changed) == (kept.commit, False)
    message = git(sandbox.mirror.path, "log", "-1", "--format=%B|%P", kept.commit)
    assert message == f"Change it Mission-Id: forged\n\nMission-Id: m1\n|{sandbox.base}"


async def test_the_diff_is_text_and_bounded(sandbox: Sandbox) -> None:
    (sandbox.path / "big.txt").write_text("line\n" * 100_000)
    (sandbox.path / "src/app.py").write_text("def f():\n    return 3\n")
    kept = await snapshot(sandbox, "Big", at=AT)
    cut = await diff(sandbox.mirror, sandbox.base, kept.commit, text_max_bytes=10_000)
    assert cut.truncated
    assert len(cut.text) == 10_000
    assert cut.stats.lines_added == 100_001
    whole = await diff(sandbox.mirror, sandbox.base, kept.commit)
    assert not whole.truncated
    assert "-    return 1\n+    return 3\n" in whole.text


def fifo(path: Path) -> None:
    os.mkfifo(path / "pipe")


def absolute_link(path: Path) -> None:
    (path / "link").symlink_to("/etc/passwd")


def leaving_link(path: Path) -> None:
    (path / "src/link").symlink_to("../../etc")


def climbing_link(path: Path) -> None:
    (path / "a/b").mkdir(parents=True)
    (path / "a/b/root").symlink_to("../..")
    (path / "sneaky").symlink_to("a/b/root/../etc")


def outside_hard_link(path: Path) -> None:
    (path.parent / "secret").write_text("secret")
    os.link(path.parent / "secret", path / "hard")


def two_cases(path: Path) -> None:
    (path / "README.MD").write_text("x")


def two_directories(path: Path) -> None:
    (path / "SRC").mkdir()
    (path / "SRC/new.py").write_text("x")


def disguised_git(path: Path) -> None:
    (path / ".g\u200cit").mkdir()
    (path / ".g\u200cit/config").write_text("[core]\n")


def upper_git(path: Path) -> None:
    (path / "sub/.GIT").mkdir(parents=True)


def bare_repository(path: Path) -> None:
    git(path, "init", "-q", "--bare", "inner")
    (path / "inner/objects/x").write_text("x")
    (path / "inner/refs/x").write_text("x")


@pytest.mark.parametrize(
    ("plant", "why"),
    [
        (fifo, "pipes"),
        (climbing_link, "leave the tree"),
        (outside_hard_link, "Hard links"),
        (two_cases, "the same on some systems"),
        (two_directories, "the same on some systems"),
        (disguised_git, "mean .git"),
        (upper_git, "mean .git"),
        (bare_repository, "git repositories themselves"),
    ],
)
async def test_what_a_repository_must_not_take_is_refused_and_nothing_is_kept(
    sandbox: Sandbox, plant: Callable[[Path], None], why: str
) -> None:
    plant(sandbox.path)
    with pytest.raises(TreeRefused, match=why):
        await snapshot(sandbox, "Bad", at=AT)
    assert await sandbox.mirror.commit_at(sandbox.ref) == sandbox.base
    assert sandbox.path.exists()


async def test_links_and_hard_links_inside_the_tree_are_fine(sandbox: Sandbox) -> None:
    (sandbox.path / "src/up").symlink_to("../README.md")
    (sandbox.path / "one").write_text("1")
    os.link(sandbox.path / "one", sandbox.path / "two")
    kept = await snapshot(sandbox, "Links", at=AT)
    assert {file.path for file in kept.files} == {"src/up", "one", "two"}


async def test_limits_on_size_and_number_hold(sandbox: Sandbox) -> None:
    (sandbox.path / "huge").touch()
    os.truncate(sandbox.path / "huge", 50 * 1024 * 1024 + 1)
    with pytest.raises(TooLarge, match="over 50 MB: huge"):
        await snapshot(sandbox, "Huge", at=AT)
    (sandbox.path / "huge").rename(sandbox.path / "huge.log")  # ignored, so nobody's business
    for number in range(20):
        (sandbox.path / f"f{number}").write_text("x")
    with pytest.raises(TooLarge, match="over 10 files"):
        await snapshot(sandbox, "Many", at=AT, limits=SnapshotLimits(files=10))
    assert (await snapshot(sandbox, "Fine", at=AT)).stats.files == 20


async def test_a_nested_repository_becomes_plain_files_and_its_git_is_set_aside(
    sandbox: Sandbox,
) -> None:
    make_repository(sandbox.path / "vendor/lib", {"a.txt": b"a\n"})
    kept = await snapshot(sandbox, "Vendor", at=AT)
    assert kept.set_aside == ("vendor/lib/.git",)
    assert [file.path for file in kept.files] == ["vendor/lib/a.txt"]
    assert not (sandbox.path / "vendor/lib/.git").exists()


async def test_a_submodule_is_kept_as_it_is(
    mirrors: Mirrors, repository: Path, sandboxes: Place
) -> None:
    pointed = git(repository, "rev-parse", "HEAD")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{pointed},deps/lib")
    git(repository, "commit", "-q", "-m", "Add a submodule")
    mirror = await mirrors.open(str(repository))
    made = await create(mirror, "m1", (await mirror.branch()).tip, sandboxes("m1"))
    assert made.submodules == ("deps/lib",)
    (made.path / "deps/lib").rmdir()
    (made.path / "deps").rmdir()
    (made.path / "new").write_text("x")
    kept = await snapshot(made, "Keep it", at=AT)
    assert [file.path for file in kept.files] == ["new"]
    (made.path / "deps/lib").mkdir(parents=True)
    (made.path / "deps/lib/file").write_text("x")
    with pytest.raises(TreeRefused, match="submodule"):
        await snapshot(made, "Inside", at=AT)
    tree = {entry.path: entry.mode for entry in await entries(mirror, kept.commit)}
    assert tree["deps/lib"] == "160000"


async def test_removal_never_loses_what_is_in_no_snapshot(sandbox: Sandbox) -> None:
    (sandbox.path / "src/app.py").write_text("precious")
    with pytest.raises(UnkeptChanges, match=r"src/app\.py"):
        await remove(sandbox)
    assert (sandbox.path / "src/app.py").read_text() == "precious"
    await snapshot(sandbox, "Keep", at=AT)
    (sandbox.path / "build").mkdir()
    (sandbox.path / "build/out").write_text("ignored")
    await remove(sandbox)
    assert not sandbox.path.exists()
    await asyncio.to_thread(empty_trash, sandbox.path.parent)
    with pytest.raises(NotFound, match="no sandbox"):
        await find(sandbox.mirror, "m1")
    await remove(sandbox)


async def test_verifier_files_come_back_from_the_base_and_links_are_not_followed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    (sandbox.path / "src/app.py").write_text("cheated")
    (sandbox.path / "src/other.py").unlink()
    kept = await snapshot(sandbox, "Cheat", at=AT)
    proof = tmp_path / "proof"
    await checkout_clean(sandbox.mirror, kept.commit, proof)
    outside = tmp_path / "outside"
    outside.mkdir()
    (proof / "src/app.py").unlink()
    (proof / "src").rmdir()
    (proof / "src").symlink_to(outside)
    restored = await restore(sandbox.mirror, sandbox.base, proof, ["src/*.py", "none/**"])
    assert restored == ("src/app.py", "src/other.py")
    assert (proof / "src/app.py").read_text().endswith("return 1\n")
    assert list(outside.iterdir()) == []
    with pytest.raises(Conflict):
        await checkout_clean(sandbox.mirror, kept.commit, proof)
    with pytest.raises(InvalidInput):
        await restore(sandbox.mirror, sandbox.base, proof, ["/etc/passwd"])


async def test_a_stored_file_is_read_without_a_checkout(sandbox: Sandbox) -> None:
    content = await read_file(sandbox.mirror, sandbox.base, "src/other.py", max_bytes=100)
    assert content == b"X = 1\n"
    assert await read_file(sandbox.mirror, sandbox.base, "src", max_bytes=100) is None
    assert await read_file(sandbox.mirror, sandbox.base, "nope", max_bytes=100) is None
    with pytest.raises(TooLarge):
        await read_file(sandbox.mirror, sandbox.base, "src/other.py", max_bytes=1)


async def test_a_killed_snapshot_leaves_nothing_in_the_way(sandbox: Sandbox) -> None:
    sandbox.index.with_name("index.lock").write_text("")
    (sandbox.path / "new").write_text("x")
    assert (await snapshot(sandbox, "After a kill", at=AT)).changed
