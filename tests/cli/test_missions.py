"""`quarterdeck mission`: from submit to roll back, with the exit codes that scripts rely on."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from tests.cli.conftest import Shell

pytestmark = pytest.mark.slow


def git(repository, *words):
    ran = subprocess.run(["git", *words], cwd=repository, check=True, capture_output=True)
    return ran.stdout.decode().strip()


@pytest.fixture
def submitted(shell: Shell, repository, codemod):
    """A mission that waits for the promotion of a proved change."""
    words = ("--repo", str(repository), "--id", "m_1", "--auto", *codemod)
    ended = shell("mission", "submit", "Twice is wrong.", "--json", *words)
    assert ended.code == 3, ended.stdout
    return ended.last


@pytest.mark.req("ORC-1", "ORC-11")
def test_a_mission_from_brief_to_roll_back(shell: Shell, repository, submitted):
    assert submitted["awaiting"][0]["step"] == "approve"
    assert "value * 2" in shell("mission", "diff", "m_1").stdout
    before = git(repository, "rev-parse", "main")

    promoted = shell("mission", "promote", "m_1", "--reason", "looks right", "--json")
    assert (promoted.code, promoted.last["outcome"]) == (0, "promoted")
    commit = promoted.last["outputs"]["promote"]["commit"]
    assert git(repository, "rev-parse", "main") == commit
    assert "value * 2" in (repository / "calc.py").read_text()

    refused = shell("mission", "rollback", "m_1", "--json")
    assert refused.code == 1
    assert refused.last["error"] == "refused"
    assert commit[:10] in refused.last["detail"]
    assert "--yes" in refused.last["hint"]

    back = shell("mission", "rollback", "m_1", "--yes", "--json")
    assert (back.code, back.last["outcome"]) == (0, "rolled_back")
    assert git(repository, "rev-parse", "main^{tree}") == git(
        repository, "rev-parse", f"{before}^{{tree}}"
    )


def test_the_text_says_what_a_person_needs(shell: Shell, submitted):
    shown = shell("mission", "show", "m_1").stdout
    assert "? waiting for you" in shown
    assert "quarterdeck mission answer m_1 promote" in shown
    watched = shell("mission", "watch", "m_1")
    assert watched.code == 3
    assert "✓ verify" in watched.stdout
    listed = shell("mission", "list").stdout
    assert "m_1" in listed
    assert "Twice is wrong." in listed


def test_an_answer_that_is_not_offered_says_what_is(shell: Shell, submitted):
    ended = shell("mission", "continue", "m_1", "--json")
    assert ended.code == 1
    assert "promote, reject" in ended.last["hint"]


@pytest.mark.req("ORC-7")
def test_reject_asks_and_names_the_change(shell: Shell, repository, submitted):
    refused = shell("mission", "reject", "m_1", "--json")
    assert refused.code == 1
    assert "calc.py" in refused.last["detail"]
    before = git(repository, "rev-parse", "main")
    ended = shell("mission", "reject", "m_1", "--yes", "--json")
    assert (ended.code, ended.last["outcome"]) == (0, "rejected")
    assert git(repository, "rev-parse", "main") == before


def test_cancel_asks_and_names_the_sandbox(shell: Shell, submitted):
    refused = shell("mission", "cancel", "m_1", "--json")
    assert refused.code == 1
    assert str(shell.data / "sandbox" / "m_1") in refused.last["detail"]
    ended = shell("mission", "cancel", "m_1", "--yes", "--json")
    assert (ended.code, ended.last["status"]) == (0, "cancelled")
    assert shell("mission", "watch", "m_1").code == 1


def test_a_brief_from_a_file(shell: Shell, tmp_path):
    brief = tmp_path / "brief.txt"
    brief.write_text("Write a parser.\n\nFor dates.")
    ended = shell("mission", "submit", f"@{brief}", "--id", "m_2", "--json")
    assert ended.last["brief"] == "Write a parser.\n\nFor dates."
    assert ended.code == 3


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * 1_100_000])
def test_a_brief_file_that_will_not_do(shell: Shell, tmp_path, content):
    brief = tmp_path / "brief.txt"
    brief.write_bytes(content)
    ended = shell("mission", "submit", f"@{brief}", "--json")
    assert ended.code == 1
    assert ended.last["error"] in ("invalid-input", "too-large")
    assert shell("mission", "list", "--json").last["missions"] == []


def test_options_and_constraints_are_json_where_they_can_be(shell: Shell):
    words = ("-c", "platforms=[1]", "-c", "note=plain words", "-c", 'deep={"a": null}')
    view = shell("mission", "submit", "Do it.", "--id", "m_3", *words, "--json").last
    assert view["constraints"] == {"platforms": [1], "note": "plain words", "deep": {"a": None}}


def test_nothing_from_outside_steers_the_terminal(shell: Shell):
    evil = "Title \x1b]0;owned\x07\x1b[2J[bold]not bold[/] \u202eabc"
    shell("mission", "submit", evil, "--id", "m_4")
    for words in (("show", "m_4"), ("list",), ("watch", "m_4")):
        text = shell("mission", *words).stdout
        assert not any(sign in text for sign in "\x1b\x07\u202e")
    assert "[bold]not bold[/]" in shell("mission", "show", "m_4").stdout


def test_control_c_while_watching_is_clean_and_says_how_it_goes_on(shell, repository):
    argv = json.dumps(["sleep", "300"])
    words = ("--implementer", "command", "--option", f"argv={argv}", "--auto", "--id", "m_5")
    process = shell.start("mission", "submit", "Sleep.", "--repo", str(repository), *words)
    assert process.stdout is not None
    for line in process.stdout:
        if "▸ implement" in line:
            break
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "go on" in stderr
    view = shell("mission", "show", "m_5", "--json").last
    assert view["status"] == "running"
    assert shell("mission", "cancel", "m_5", "--yes", "--json").last["status"] == "cancelled"


def test_two_processes_do_not_share_a_data_directory(shell: Shell, repository):
    argv = json.dumps(["sleep", "300"])
    words = ("--implementer", "command", "--option", f"argv={argv}", "--auto", "--id", "m_6")
    process = shell.start("mission", "submit", "Sleep.", "--repo", str(repository), *words)
    assert process.stdout is not None
    process.stdout.readline()
    ended = shell("mission", "list", "--json")
    assert ended.code == 1
    assert str(process.pid) in ended.last["detail"]
    process.kill()
    process.communicate()
