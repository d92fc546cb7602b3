"""The samples: clean repositories, honest words, nothing that another machine would not have."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from quarterdeck.cli.samples import Sample, find_sample, shipped_samples
from quarterdeck.core.errors import NotFound, Unavailable
from quarterdeck.features.coding.commands import Command, Commands, ReportFormat
from quarterdeck.features.coding.implementers.port import Finished, Status, Task
from quarterdeck.features.coding.implementers.repair import RepairImplementer

SAMPLES = {sample.name: sample for sample in shipped_samples()}
WITH_FILES = [name for name, sample in SAMPLES.items() if (sample.folder / "repository").is_dir()]


def git(place, *words):
    ran = subprocess.run(["git", *words], cwd=place, check=True, capture_output=True, text=True)
    return ran.stdout.strip()


def test_there_are_three_by_three_implementers():
    assert set(SAMPLES) == {"python-bug", "javascript-codemod", "empty-feature"}
    assert {sample.implementer for sample in SAMPLES.values()} == {"auto", "command", "acp"}


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_repository_is_made_clean_and_once(name, tmp_path):
    place = SAMPLES[name].make_repository(tmp_path / "here")
    assert place == tmp_path / "here"
    assert git(place, "status", "--porcelain") == ""
    assert git(place, "log", "--format=%an %s") == "Sample Begin"
    first = git(place, "rev-parse", "HEAD")
    assert SAMPLES[name].make_repository(place) == place
    assert git(place, "rev-parse", "HEAD") == first
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_what_a_kill_left_half_made_is_made_anew(tmp_path):
    half = tmp_path / "here.part" / ".git"
    half.mkdir(parents=True)
    place = SAMPLES["python-bug"].make_repository(tmp_path / "here")
    assert git(place, "rev-list", "--count", "HEAD") == "1"


def test_git_settings_of_the_person_do_not_get_in(tmp_path, monkeypatch):
    (tmp_path / "config").write_text("[commit]\n\tgpgsign = true\n[core]\n\thooksPath = /nowhere\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_DIR", "/nowhere/at/all")
    place = SAMPLES["python-bug"].make_repository(tmp_path / "here")
    monkeypatch.delenv("GIT_DIR")
    assert git(place, "log", "--format=%G?") == "N"


def test_an_empty_repository_is_not_made(tmp_path):
    assert SAMPLES["empty-feature"].make_repository(tmp_path / "here") is None


def test_the_bug_shows_in_three_of_thirty_four_tests(tmp_path):
    place = SAMPLES["python-bug"].make_repository(tmp_path / "here")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=place,
        check=False,
        capture_output=True,
        text=True,
    )
    assert "3 failed, 31 passed" in ran.stdout


def test_every_sample_says_where_its_task_comes_from():
    for sample in SAMPLES.values():
        assert len(sample.honesty) > 80
    assert "scripted" in SAMPLES["empty-feature"].honesty


def test_a_missing_program_is_named():
    sample: Sample = replace(SAMPLES["python-bug"], needs=("no-such-program",))
    assert sample.missing == ("no-such-program",)
    with pytest.raises(Unavailable, match="no-such-program"):
        sample.check()


def test_another_name_is_not_found():
    with pytest.raises(NotFound) as problem:
        find_sample("toaster")
    assert problem.value.hint is not None
    assert "python-bug" in problem.value.hint


@pytest.mark.slow
@pytest.mark.req("ORC-8")
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_repair_finds_the_bug_with_strong_evidence(seed, tmp_path):
    place = SAMPLES["python-bug"].make_repository(tmp_path / "here")
    assert place is not None
    (tmp_path / "scratch").mkdir()
    failing = (
        "tests.test_week::test_closed_at_closing_time",
        "tests.test_query::test_closed_when_lunch_begins",
        "tests.test_query::test_no_minutes_until_closing_when_closed",
    )
    argv = (sys.executable, "-m", "pytest", "--junitxml={report}")
    test = Command(argv, "here", report=ReportFormat.JUNIT, env={"PYTHONPATH": "{tree}"})
    task = Task(
        mission_id="sample",
        brief=SAMPLES["python-bug"].brief,
        path=place,
        work_dir=tmp_path / "scratch",
        commands=Commands("python", test=test),
        failing=failing,
        budget_s=60,
        seed=seed,
    )
    async for event in RepairImplementer().run(task):
        last = event
    assert isinstance(last, Finished)
    assert last.status is Status.CHANGED, last.summary
    assert last.evidence["class"] == "strong"
    assert "minute >= self.closes" in (place / "hours" / "week.py").read_text()
