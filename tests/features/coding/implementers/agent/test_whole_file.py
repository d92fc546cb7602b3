"""Whole files under a grammar: what is shown, what may be answered, what is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.coding.implementers.agent.whole_file import (
    FILES_ANSWERED,
    SHOWN_MAX_CHARS,
    Edit,
    answer_from,
    answer_schema,
    apply_edits,
    relevant,
    shown_files,
)
from quarterdeck.features.coding.implementers.tree import SandboxTree
from quarterdeck.llm.schema import problem_with
from tests.features.coding.implementers.conftest import FIXED, MakeTask

EDIT = {"path": "a.py", "content": "x"}


def test_the_schema_bounds_every_text_and_list() -> None:
    fine = {"summary": "s", "files": [EDIT], "done": True}
    assert problem_with(fine, answer_schema()) is None
    assert answer_from(fine).edits == (Edit("a.py", "x"),)
    for wrong in (
        {"files": [EDIT], "done": True},
        {**fine, "extra": 1},
        {**fine, "files": [EDIT] * (FILES_ANSWERED + 1)},
        {**fine, "summary": "s" * 401},
        {**fine, "files": [{"path": "", "content": ""}]},
    ):
        assert problem_with(wrong, answer_schema()) is not None


def test_files_that_are_named_come_first_and_tests_last(make_task: MakeTask) -> None:
    files = ["zebra.py", "lib/util.py", "calc.py", "test_calc.py", "logo.png"]
    assert relevant(files, make_task())[0] == "calc.py"
    assert "logo.png" not in relevant(files, make_task())
    assert set(relevant(files, make_task())) == set(files) - {"logo.png"}


async def test_what_is_shown_is_bounded(make_task: MakeTask) -> None:
    task = make_task()
    for number in range(50):
        (task.path / f"calc{number}.py").write_text("x = 1\n" * 2_000)
    shown = await shown_files(SandboxTree(task.path), task)
    assert "### File calc.py" in shown
    assert len(shown) < SHOWN_MAX_CHARS + 10_000


def test_each_file_is_written_or_told_about(project: Path) -> None:
    tree = SandboxTree(project)
    problems = apply_edits(tree, [Edit("../x", "bad"), Edit("calc.py", FIXED)])
    assert len(problems) == 1
    assert (project / "calc.py").read_text() == FIXED


@pytest.mark.parametrize("content", ["", "ünïcode\n", "no end of line"])
def test_the_content_is_written_as_it_is(project: Path, content: str) -> None:
    apply_edits(SandboxTree(project), [Edit("new.py", content)])
    assert (project / "new.py").read_bytes() == content.encode()


@given(st.lists(st.text(max_size=30), max_size=20))
def test_any_names_can_be_ranked(files: list[str]) -> None:
    from quarterdeck.features.coding.commands import Commands
    from quarterdeck.features.coding.implementers.port import Task

    task = Task("m", "brief", Path("/a"), Path("/b"), Commands("python"))
    assert set(relevant(files, task)) <= set(files)
