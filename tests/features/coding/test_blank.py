"""What counts as a blank page, and what may be brought to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.features.coding.blank import is_blank, may_bring

pytestmark = pytest.mark.req("ORC-9")


@pytest.mark.parametrize(
    "files",
    [
        (),
        ("README.md",),
        ("README", "LICENSE", ".gitignore", ".gitattributes", "docs/idea.md", "pyproject.toml"),
    ],
)
def test_words_and_names_leave_a_page_blank(tmp_path: Path, files: tuple[str, ...]):
    _write(tmp_path, files)
    assert is_blank(tmp_path)


@pytest.mark.parametrize(
    "file",
    [
        "main.py",
        "src/app.js",
        "tests/test_a.py",
        "conftest.py",
        "pytest.ini",
        "quarterdeck.yaml",
        "Makefile",
        "data.bin",
        ".github/workflows/ci.yml",
        "docs/README/run.py",
    ],
)
def test_code_tests_and_settings_do_not(tmp_path: Path, file: str):
    _write(tmp_path, ("README.md", file))
    assert not is_blank(tmp_path)


def test_a_link_does_not(tmp_path: Path):
    (tmp_path / "README.md").symlink_to("/etc/passwd")
    assert not is_blank(tmp_path)


@pytest.mark.parametrize("file", ["conftest.py", "tests/conftest.py", "pytest.ini", "Makefile"])
def test_ordinary_settings_may_be_brought(file: str):
    assert may_bring(file)


@pytest.mark.parametrize(
    "file",
    [
        "quarterdeck.yaml",
        "sitecustomize.py",
        "lib/usercustomize.py",
        "evil.pth",
        "x.egg-info/entry_points.txt",
        "x.dist-info/entry_points.txt",
        ".venv/bin/python",
        "node_modules/jest/index.js",
    ],
)
def test_what_decides_how_one_is_judged_may_not(file: str):
    assert not may_bring(file)


def _write(root: Path, files: tuple[str, ...]) -> None:
    for name in files:
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("")
