"""A hostile command gets nowhere: as root and as an ordinary user, with and without namespaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PACKAGE = HERE.parent.parent / "src" / "quarterdeck"
NOBODY = 65_534

# /proc/1 is the launcher's own small init there: its environment is empty, and shut as well
STRENGTHS = [("own", 99), ("shared", 99), ("shared", 5), ("shared", 3), ("shared", 2)]


@pytest.fixture
def place() -> Iterator[Path]:
    """A copy of the product that every user can read, next to a directory every user can use."""
    root = Path(tempfile.mkdtemp(prefix="qd-attack-"))
    root.chmod(0o755)
    package = root / "src" / "quarterdeck"
    for name in ("confine", "core"):
        shutil.copytree(
            PACKAGE / name, package / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(PACKAGE / "__init__.py", package)
    for name in ("attacks.py", "driver.py"):
        shutil.copy(HERE / name, root)
    yield root
    shutil.rmtree(root)


def attacked(place: Path, python: str, strength: tuple[str, int], user: int | None) -> dict:
    work = place / "work"
    work.mkdir()
    if user is not None:
        os.chown(work, user, user)
    done = subprocess.run(
        [python, str(place / "driver.py"), str(work), strength[0], str(strength[1])],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(place / "src"), "PATH": os.environ["PATH"], "HOME": str(work)},
        user=user,
        group=user,
        extra_groups=[] if user is not None else None,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def python_for_everybody() -> str:
    """An interpreter (3.11 or newer) that an ordinary user can start."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    for python in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [python, "-c", check], user=NOBODY, group=NOBODY, capture_output=True, check=False
            )
        except OSError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip("No Python 3.11 that an ordinary user can start.")


@pytest.mark.parametrize("strength", STRENGTHS, ids=lambda s: f"{s[0]}-abi{s[1]}")
def test_nothing_works_for_whoever_runs_the_server(place, strength):
    outcome = attacked(place, sys.executable, strength, None)
    assert outcome["worked"] == []
    assert outcome["secrets"] == []
    assert outcome["intact"], outcome
    assert outcome["tried"] > 60
    assert outcome["exit_code"] == 0, outcome


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("strength", STRENGTHS, ids=lambda s: f"{s[0]}-abi{s[1]}")
def test_nothing_works_for_an_ordinary_user(place, strength):
    outcome = attacked(place, python_for_everybody(), strength, NOBODY)
    assert outcome["worked"] == []
    assert outcome["secrets"] == []
    assert outcome["intact"], outcome
    assert outcome["exit_code"] == 0, outcome
