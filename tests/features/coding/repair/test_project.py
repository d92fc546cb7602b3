"""The target: how its tests are started, what is copied, what may be edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.features.coding.repair import project
from quarterdeck.features.coding.repair.project import copy_tree, editable_files, pytest_command

ROOT = Path("/p")


@pytest.mark.parametrize(
    ("argv", "before", "after"),
    [
        (["pytest", "-q", "tests"], ("pytest",), ("tests",)),
        (["python", "-m", "pytest", "-x", "-n", "4"], ("python", "-m", "pytest"), ()),
        (["uv", "run", "pytest", "-k", "a"], ("uv", "run", "pytest"), ("-k", "a")),
        (["python3", "-m", "unittest", "discover"], ("python3", "-m", "pytest"), ()),
        ([".venv/bin/pytest", "--junitxml={report}"], ("/p/.venv/bin/pytest",), ()),
        (["pytest", "--junitxml", "{report}", "--cov=x", "a.py"], ("pytest",), ("a.py",)),
        (["/e/bin/coverage", "run", "-m", "pytest"], ("/e/bin/python", "-m", "pytest"), ()),
    ],
)
def test_knows_how_pytest_is_started(argv, before, after):
    command = pytest_command(argv, ROOT)

    assert (command.before, command.after) == (before, after)
    assert command.argv[: len(before) + 1] == [*before, "-p"]


def test_refuses_other_test_commands():
    with pytest.raises(InvalidInput, match="pytest"):
        pytest_command(["npm", "test"], ROOT)


def test_copies_without_environments_and_histories(tmp_path):
    for name in ("a/m.py", ".git/config", "env/pyvenv.cfg", "env/lib/x.py", "node_modules/y.js"):
        path = tmp_path / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    (tmp_path / "p" / "link").symlink_to("a/m.py")

    copy_tree(tmp_path / "p", tmp_path / "c")

    found = sorted(p.relative_to(tmp_path / "c").as_posix() for p in (tmp_path / "c").rglob("*"))
    assert found == ["a", "a/m.py", "link"]
    assert (tmp_path / "c" / "link").is_symlink()


def test_refuses_a_tree_with_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "FILES_MAX", 3)
    (tmp_path / "p").mkdir()
    for number in range(5):
        (tmp_path / "p" / f"{number}.txt").write_text("1")

    with pytest.raises(TooLarge, match="too large"):
        copy_tree(tmp_path / "p", tmp_path / "c")


def test_tests_and_configuration_are_never_edit_targets(tmp_path):
    names = (
        "m.py",
        "pkg/n.py",
        "pkg/test_n.py",
        "tests/util.py",
        "conftest.py",
        "setup.py",
        "k.py",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")

    found = editable_files(tmp_path, ("k*",), ("m.py",))

    assert sorted(found) == ["pkg/n.py"]
