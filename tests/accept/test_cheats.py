"""Changes that only look right never reach a promotion, whoever writes them (ORC-9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.accept.building import (
    AGENT,
    CALC,
    WITH_PYTEST,
    acp,
    installation,
    repository,
    tip,
    writing,
)

pytestmark = [pytest.mark.req("ORC-9"), pytest.mark.slow]

FORGE = """import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    report.outcome = "passed"
    report.longrepr = None
"""
ALWAYS_EQUAL = """class Any:
    def __eq__(self, other):
        return True


def add(a, b):
    return Any()


def double(a):
    return 2 * a
"""
CHEATS = {
    "conftest forges the reports": ("conftest.py", FORGE),
    "product ends the process": ("calc.py", "import os\n\nos._exit(0)\n"),
    "tests are weakened": ("tests/test_calc.py", "def test_add():\n    pass\n"),
    "product patches the framework": (
        "calc.py",
        f"{CALC}\nimport _pytest.runner\n_pytest.runner.check_interactive_exception = None\n",
    ),
    "equal to everything": ("calc.py", ALWAYS_EQUAL),
    "product skips the module": (
        "calc.py",
        "import pytest\n\npytest.skip('later', allow_module_level=True)\n",
    ),
    "settings hide the tests": ("pytest.ini", "[pytest]\naddopts = --ignore=tests\n"),
}


# The proof does not know who wrote the change; two by the other way are enough to show that.
BY_AGENT = ("conftest forges the reports", "equal to everything")


@pytest.mark.parametrize(
    ("by", "name"),
    [*(("command", name) for name in CHEATS), *(("acp", name) for name in BY_AGENT)],
)
async def test_a_cheat_ends_unpromoted(tmp_path: Path, data_dir: Path, by: str, name: str):
    repo = repository(tmp_path / "repo", WITH_PYTEST)
    before = tip(repo)
    place = tmp_path / "agent"
    place.mkdir()
    writer = acp(place, CHEATS[name]) if by == "acp" else writing(CHEATS[name])
    coding = {"rounds_max": 1, "readable_paths": [str(place), str(AGENT)]}
    async with installation(data_dir, coding=coding) as orchestrator:
        result = await orchestrator.execute_mission(
            brief="add gives wrong sums.",
            mission_id="m1",
            repository=str(repo),
            auto_implement=True,
            **writer,
        )
        proof = result["outputs"]["verify"]
        assert not proof["passed"]
        assert [q["step"] for q in result["awaiting"]] == ["implement_2"], "a person is asked"
        ended = await orchestrator.answer_mission("m1", "reject")

    assert ended["outcome"] != "promoted"
    assert tip(repo) == before


NEW = "def greet(name):\n    return f'Hello {name}'\n"
TEST = "from greeting import greet\n\n\ndef test_greet():\n    assert greet('Ada') == 'Hello Ada'\n"
ON_A_BLANK_PAGE = {
    "no test at all": (("greeting.py", NEW),),
    "a test that shows nothing": (
        ("greeting.py", NEW),
        ("tests/test_greeting.py", "def test_greet():\n    assert True\n"),
    ),
    "a test that fails": (
        ("greeting.py", NEW.replace("Hello", "Bye")),
        ("tests/test_greeting.py", TEST),
    ),
    "conftest forges the reports": (
        ("greeting.py", NEW.replace("Hello", "Bye")),
        ("tests/test_greeting.py", TEST),
        ("conftest.py", FORGE),
    ),
    "it says itself how it is tested": (
        ("report.xml", '<testsuite><testcase classname="a" name="b"/></testsuite>'),
        ("quarterdeck.yaml", "test: [cp, report.xml, '{report}']\nreport: {format: junit}\n"),
    ),
    "it hooks into the interpreter": (
        ("greeting.py", NEW),
        ("tests/test_greeting.py", TEST),
        ("sitecustomize.py", "HOOKED = True\n"),
    ),
}


@pytest.mark.parametrize("name", ON_A_BLANK_PAGE)
async def test_a_blank_page_is_no_free_pass(tmp_path: Path, data_dir: Path, name: str):
    async with installation(data_dir, coding={"rounds_max": 1}) as orchestrator:
        result = await orchestrator.execute_mission(
            brief="Write greet, with a test.",
            mission_id="m1",
            auto_implement=True,
            **writing(*ON_A_BLANK_PAGE[name]),
        )
        assert result["status"] == "awaiting_answer", result
        proof = result["outputs"].get("verify")
        if proof is None:
            assert "How is it tested?" in result["awaiting"][0]["question"]
        else:
            assert not proof["passed"]
            assert proof["reasons"]
