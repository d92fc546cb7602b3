"""`quarterdeck demo`: each sample ends promoted, and a demo that was left goes on where it was."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import pytest
import yaml

from quarterdeck.cli.samples import find_sample
from quarterdeck.features.coding.git.signing import verify_commit
from tests.cli.conftest import Ended, Shell

pytestmark = pytest.mark.slow

KEYS = [
    "mission_id",
    "status",
    "promoted_commit",
    "tests_before",
    "tests_after",
    "duration_s",
    "artifacts",
]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "demo"


def demo(shell: Shell, root, *words: str) -> Ended:
    return shell.process("demo", "--data", str(root), *words)


@pytest.mark.timeout(300)
@pytest.mark.req("ORC-1", "ORC-8", "ORC-11")
@pytest.mark.parametrize("name", ["python-bug", "javascript-codemod", "empty-feature"])
def test_a_sample_ends_promoted(shell: Shell, root, name):
    if find_sample(name).missing:
        pytest.skip(f"{name} cannot run here")
    ended = demo(shell, root, "--sample", name, "--yes", "--json")
    assert ended.code == 0, ended.stderr
    result = ended.last
    assert list(result) == KEYS
    assert result["status"] == "promoted"
    assert result["tests_after"]["passed"] == result["tests_after"]["total"] > 10
    if name != "empty-feature":
        assert result["tests_before"]["failed"] == 3
        tip = git(root / "repository", "rev-parse", "main")
        assert tip == result["promoted_commit"]


@pytest.mark.timeout(300)
@pytest.mark.req("ORC-7", "ORC-11")
def test_without_a_person_it_waits_and_goes_on_later(shell: Shell, root):
    ended = demo(shell, root)
    assert ended.code == 3
    for told in (
        "The brief",
        "Tests before 31 of 34 pass",
        "Mentors",
        "Plan",
        "Sandbox",
        "red tests turned green",
        "Proved: 34 of 34 tests pass",
        "minute >= self.closes",
        "waits for you: May this be promoted?",
        "mission promote",
        "Nothing was changed in the repository.",
    ):
        assert told in ended.stdout
    assert git(root / "repository", "rev-list", "--count", "main") == "1"

    again = demo(shell, root, "--json")
    assert (again.code, again.last["status"]) == (3, "waiting")
    assert "mission promote" in again.stderr

    last = demo(shell, root, "--yes")
    assert last.code == 0
    assert "Promote it? yes (--yes)" in last.stdout
    _check_the_commands_it_prints(root, last.stdout)

    over = demo(shell, root, "--yes", "--json")
    assert (over.code, over.last["status"]) == (0, "promoted")
    assert git(root / "repository", "rev-list", "--merges", "--count", "main") == "1"


def _check_the_commands_it_prints(root, text: str) -> None:
    lines = text.splitlines()
    verify = next(line for line in lines if "verify-commit" in line)
    words = shlex.split(verify.split(":", 1)[1])
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    if shutil.which("ssh-keygen"):
        assert 'Good "git" signature for quarterdeck' in text
        subprocess.run(words, check=True, capture_output=True, env=environment)
    commit = words[-1]
    words = ["git", "cat-file", "commit", commit]
    raw = subprocess.run(words, cwd=root / "repository", check=True, capture_output=True).stdout
    key = (root / "allowed_signers").read_text().split('"git" ')[1]
    assert verify_commit(raw, key)
    look = next(line for line in lines if "log --stat" in line)
    subprocess.run(shlex.split(look.split(":", 1)[1]), check=True, capture_output=True)
    undo = next(line for line in lines if "mission rollback" in line)
    words = [*shlex.split(undo.split(":", 1)[1]), "--help"]
    subprocess.run(words, check=True, capture_output=True)


def test_a_directory_with_something_else_in_it_is_refused(shell: Shell, tmp_path):
    place = tmp_path / "documents"
    place.mkdir()
    (place / "thesis.txt").write_text("precious")
    ended = shell("demo", "--data", str(place), "--json")
    assert ended.code == 1
    assert ended.last["error"] == "refused"
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]


def test_a_broken_mark_is_refused(shell: Shell, tmp_path):
    place = tmp_path / "demo"
    place.mkdir()
    (place / "demo.json").write_text("{")
    assert shell("demo", "--data", str(place), "--json").last["where"].endswith("demo.json")


def test_the_settings_stay_with_the_data(shell: Shell, root):
    # Later commands on the demo's data directory must work as the demo did.
    ended = demo(shell, root, "--sample", "javascript-codemod", "--json")
    assert ended.code == 3
    settings = yaml.safe_load((root / "data" / "settings.yaml").read_text())
    assert settings["coding"]["readable_paths"]
    mission = ended.last["mission_id"]
    on = Shell(root / "data")
    assert on("mission", "promote", mission, "--json").last["outcome"] == "promoted"


def git(place, *words):
    ran = subprocess.run(["git", *words], cwd=place, check=True, capture_output=True, text=True)
    return ran.stdout.strip()
