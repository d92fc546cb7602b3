"""./dev, the one door: it says what is missing and starts at once when nothing is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

COMMANDS = ["demo", "up", "lint", "check", "test", "bench", "requirements", "fmt", "docs", "lock"]


def _dev(tree: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(tree / "dev"), *words],
        cwd="/",
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def bare(root: Path, tmp_path: Path) -> Path:
    """A tree without an environment."""
    for name in ("dev", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(root / name, tmp_path / name)
    return tmp_path


def test_help_names_every_command(root: Path):
    shown = re.findall(r"^  (\w+)", _dev(root, "--help").stdout, re.MULTILINE)
    assert shown == COMMANDS


def test_an_unknown_command_is_an_error(root: Path):
    result = _dev(root, "fly")
    assert (result.returncode, "no command 'fly'" in result.stderr) == (2, True)


def test_no_command_is_an_error(root: Path):
    assert _dev(root).returncode == 2


def test_it_says_which_python_it_needs(bare: Path):
    result = _dev(bare, "fmt", PYTHON="no-such-python")
    assert result.returncode == 1
    assert "Python 3.11 or newer" in result.stderr
    assert not (bare / ".venv").exists()


def test_it_says_that_git_is_missing(bare: Path):
    tools = bare / "tools-without-git"
    tools.mkdir()
    for name in ("cat", "cksum", "dirname", "mkdir", "sh"):
        (tools / name).symlink_to(shutil.which(name) or name)
    result = _dev(bare, "fmt", PATH=str(tools))
    assert result.returncode == 1
    assert "needs git" in result.stderr


def _pretend_installed(tree: Path) -> None:
    """An environment whose programs only say their names, stamped as ./dev would."""
    programs = tree / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "pip").write_text(f"#!{programs}/python\n")
    for name in ("python", "quarterdeck"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (programs / name).chmod(0o755)
    parts = ["requirements.lock", "pyproject.toml"]
    content = b"".join((tree / part).read_bytes() for part in parts) + os.fsencode(tree / ".venv")
    stamp = subprocess.run(["cksum"], input=content, capture_output=True, check=True).stdout
    (tree / ".venv/.made-for-run").write_bytes(stamp)


def test_a_second_start_is_quick_and_silent(bare: Path):
    _pretend_installed(bare)
    started = time.monotonic()
    result = _dev(bare, "demo", "--yes", "--json")
    assert time.monotonic() - started < 1
    assert (result.stdout, result.stderr) == ("quarterdeck demo --yes --json\n", "")


def test_up_serves(bare: Path):
    _pretend_installed(bare)
    assert _dev(bare, "up", "--port", "0").stdout == "quarterdeck serve --port 0\n"


def test_another_lock_is_installed(bare: Path):
    _pretend_installed(bare)
    with (bare / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    first, second = (_dev(bare, "demo", PATH="/usr/bin:/bin") for _ in range(2))
    assert "--require-hashes -r requirements.lock" in first.stdout
    assert (second.stdout, second.stderr) == ("quarterdeck demo\n", "")


def test_a_moved_or_broken_environment_is_made_anew(bare: Path):
    _pretend_installed(bare)
    moved = bare / "elsewhere"
    moved.mkdir()
    for name in ("dev", "pyproject.toml", "requirements.lock", ".venv"):
        (bare / name).rename(moved / name)
    result = _dev(moved, "demo", PYTHON="no-such-python")
    assert "making it anew" in result.stderr
    assert not (moved / ".venv").exists()


def test_it_is_plain_sh(root: Path):
    subprocess.run(["sh", "-n", str(root / "dev")], check=True)
    bashisms = re.compile(r"\[\[|\bfunction \w|\blocal \b|<<<|\$'|\bsource ")
    assert not bashisms.search((root / "dev").read_text())
