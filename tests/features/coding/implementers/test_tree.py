"""Files of a sandbox: nothing outside of it can be read or written, whatever the path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quarterdeck.core.errors import Denied, InvalidInput, NotFound, QuarterdeckError, TooLarge
from quarterdeck.features.coding.implementers.tree import (
    WRITE_MAX_BYTES,
    SandboxTree,
    changed_paths,
)


@pytest.fixture
def tree(tmp_path: Path) -> SandboxTree:
    root = tmp_path / "sandbox"
    (root / "src").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("[core]\n")
    (root / "src" / "a.py").write_text("a = 1\n")
    (tmp_path / "secret").write_text("secret")
    return SandboxTree(root)


def test_files_are_read_by_relative_and_absolute_path(tree: SandboxTree) -> None:
    assert tree.read_text("src/a.py") == "a = 1\n"
    assert tree.read_text(str(tree.root / "src/a.py")) == "a = 1\n"
    assert tree.read_text("./src/./a.py") == "a = 1\n"


def test_a_write_replaces_the_whole_file_and_keeps_its_mode(tree: SandboxTree) -> None:
    (tree.root / "src/a.py").chmod(0o755)
    tree.write("src/a.py", b"a = 2\n")
    assert (tree.root / "src/a.py").read_text() == "a = 2\n"
    assert (tree.root / "src/a.py").stat().st_mode & 0o777 == 0o755
    tree.write("new/deep/b.py", b"b")
    assert (tree.root / "new/deep/b.py").read_bytes() == b"b"
    assert sorted(p.name for p in (tree.root / "src").iterdir()) == ["a.py"]


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "src/../../secret",
        "/etc/passwd",
        ".git/config",
        "src/.GIT/hooks/x",
        "link/x",
        "outside",
        "inside",
        ".",
        "src",
        "src/a.py/x",
    ],
)
def test_a_path_that_leads_elsewhere_is_denied(tree: SandboxTree, path: str) -> None:
    (tree.root / "link").symlink_to(tree.root.parent)
    (tree.root / "outside").symlink_to(tree.root.parent / "secret")
    (tree.root / "inside").symlink_to("src/a.py")
    for act in (tree.read, tree.delete, lambda p: tree.write(p, b"x")):
        with pytest.raises(Denied):
            act(path)
    assert (tree.root.parent / "secret").read_text() == "secret"
    assert (tree.root / "src/a.py").read_text() == "a = 1\n"


@pytest.mark.parametrize("path", ["", "a\x00b", "a/" * 3000, "/".join("a" * 70)])
def test_a_path_that_is_none_is_refused(tree: SandboxTree, path: str) -> None:
    with pytest.raises(InvalidInput):
        tree.read(path)


def test_a_hard_link_to_a_file_outside_is_not_written_through(tree: SandboxTree) -> None:
    os.link(tree.root.parent / "secret", tree.root / "hard")
    tree.write("hard", b"changed")
    assert (tree.root.parent / "secret").read_text() == "secret"


def test_a_named_pipe_is_refused_and_does_not_hang(tree: SandboxTree) -> None:
    os.mkfifo(tree.root / "pipe")
    with pytest.raises(Denied):
        tree.read("pipe")
    assert "pipe" not in list(tree.files())


def test_sizes_are_bounded(tree: SandboxTree) -> None:
    with pytest.raises(TooLarge):
        tree.write("big", b"x" * (WRITE_MAX_BYTES + 1))
    with pytest.raises(TooLarge):
        tree.read("src/a.py", limit=3)
    assert not (tree.root / "big").exists()


def test_what_is_not_there_or_not_text_is_said_so(tree: SandboxTree) -> None:
    (tree.root / "data").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NotFound):
        tree.read("src/none.py")
    with pytest.raises(InvalidInput, match="UTF-8"):
        tree.read_text("data")


def test_a_snapshot_sees_every_change_but_not_what_tools_leave_behind(tree: SandboxTree) -> None:
    (tree.root / "src/gone.py").write_text("")
    before = tree.snapshot()
    tree.write("src/a.py", b"a = 3\n")
    tree.write("new.py", b"")
    tree.delete("src/gone.py")
    (tree.root / "src/__pycache__").mkdir()
    (tree.root / "src/__pycache__/a.pyc").write_bytes(b"x")
    (tree.root / ".git" / "index").write_bytes(b"x")
    assert changed_paths(before, tree.snapshot()) == ["new.py", "src/a.py", "src/gone.py"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["..", ".", "src", "up", "a.py", ".git", "", "etc"]), max_size=6))
def test_no_path_writes_outside(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    home = tmp_path_factory.mktemp("tree")
    (home / "sandbox" / "src").mkdir(parents=True)
    (home / "sandbox" / "up").symlink_to("..")
    tree = SandboxTree(home / "sandbox")
    for path in ("/".join(parts), f"/{'/'.join(parts)}"):
        try:
            tree.write(path, b"x")
        except QuarterdeckError:
            continue
    assert sorted(p.name for p in home.iterdir()) == ["sandbox"]
    assert not (home / "sandbox" / ".git").exists()
