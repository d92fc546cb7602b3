"""The seven known ways to make a broken change look green, and some more, run for real."""

import asyncio
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from quarterdeck.confine import Limits
from quarterdeck.features.coding.detect import detect, directory_tree, this_host
from quarterdeck.features.coding.proof import Expectation, Proof
from quarterdeck.features.coding.verify import Verification, verify

pytestmark = [pytest.mark.req("ORC-9"), pytest.mark.slow]

BROKEN = "def add(a, b):\n    return a - b\n\n\ndef twice(a):\n    return a + a\n"
FIXED = BROKEN.replace("a - b", "a + b")
TESTS = """from shop.sums import add, twice


def test_adds():
    assert add(1, 2) == 3


def test_adds_nothing():
    assert add(0, 0) == 0


def test_adds_negative():
    assert add(-1, -2) == -3


def test_twice():
    assert twice(2) == 4
"""
BASE = {
    "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\n[tool.pytest.ini_options]\n'
    'testpaths = ["tests"]\n',
    "shop/__init__.py": "",
    "shop/sums.py": BROKEN,
    "tests/test_sums.py": TESTS,
}
Files = Mapping[str, str | None]


class Repository:
    """A real git repository of two commits: the base, and a change."""

    def __init__(self, path: Path, files: Files = BASE) -> None:
        self.path = path
        path.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")
        self.base = self.commit(files)

    def commit(self, files: Files) -> str:
        for name, content in files.items():
            place = self.path / name
            if content is None:
                place.unlink()
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(content)
        self._git("add", "--all")
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        self._git(*identity, "commit", "--quiet", "--allow-empty", "-m", "Change")
        return self._git("rev-parse", "HEAD").strip()

    async def checkout(self, sha: str, path: Path) -> None:
        await asyncio.to_thread(self._extract, sha, path)

    def _extract(self, sha: str, path: Path) -> None:
        path.mkdir()
        archive = subprocess.run(
            ["git", "-C", self.path, "archive", sha], check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", path], check=True, input=archive.stdout)

    def _git(self, *words: str) -> str:
        done = subprocess.run(["git", "-C", self.path, *words], check=True, capture_output=True)
        return done.stdout.decode()


async def judged(
    tmp_path: Path,
    change: Files,
    *,
    base: Files = BASE,
    expectation: Expectation | None = None,
    limits: Limits | None = None,
    timeout_s: float = 60.0,
) -> Proof:
    repository = Repository(tmp_path / "repository", base)
    commands = detect(directory_tree(repository.path), this_host()).best
    assert commands is not None
    assert commands.test is not None
    candidate = repository.commit(change)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    request = Verification(
        base_sha=repository.base,
        tree_sha=candidate,
        commands=replace(commands, test=replace(commands.test, timeout_s=timeout_s)),
        checkout=repository.checkout,
        scratch=scratch,
        expectation=expectation or Expectation(),
        limits=limits or Limits(),
    )
    proof = (await verify(request)).proof
    assert list(scratch.iterdir()) == [], "nothing is left behind"
    return proof


def rules(proof: Proof) -> set[str]:
    return {reason.rule for reason in proof.reasons}


async def test_an_honest_fix_passes(tmp_path):
    proof = await judged(tmp_path, {"shop/sums.py": FIXED})

    assert proof.passed, proof.reasons
    assert proof.document["red_before_green"] == [
        "tests.test_sums::test_adds",
        "tests.test_sums::test_adds_negative",
    ]
    assert proof.document["runs"]["tripwire"] is True


async def test_an_honest_fix_with_a_new_and_an_extended_test_file_passes(tmp_path):
    more = "\n\ndef test_adds_more():\n    assert add(4, 5) == 9\n"
    change = {
        "shop/sums.py": FIXED,
        "tests/test_sums.py": TESTS + more,
        "tests/test_more.py": "from shop.sums import add\n" + more,
    }

    proof = await judged(tmp_path, change)

    assert proof.passed, proof.reasons
    assert "tests.test_more::test_adds_more" in proof.document["red_before_green"]
    assert {w.rule for w in proof.warnings} == {"new-test", "test-extended"}


async def test_a_feature_is_shown_by_tests_that_fail_without_it(tmp_path):
    base = {**BASE, "shop/sums.py": FIXED}
    change = {
        "shop/sums.py": FIXED + "\n\ndef thrice(a):\n    return 3 * a\n",
        "tests/test_thrice.py": "from shop.sums import thrice\n\n\n"
        "def test_thrice():\n    assert thrice(2) == 6\n",
    }

    proof = await judged(tmp_path, change, base=base)

    assert proof.passed, proof.reasons
    assert proof.document["red_before_green"] == ["tests.test_thrice::test_thrice"]


async def test_a_feature_whose_tests_pass_without_it_is_not_shown(tmp_path):
    base = {**BASE, "shop/sums.py": FIXED}
    change = {
        "shop/sums.py": FIXED + "\n\ndef thrice(a):\n    return 3 * a\n",
        "tests/test_thrice.py": "def test_thrice():\n    assert True\n",
    }

    proof = await judged(tmp_path, change, base=base)

    assert rules(proof) == {"no-red-before-green"}


async def test_cheat_1_conftest_patches_the_reports(tmp_path):
    conftest = """import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    report.outcome = "passed"
    report.longrepr = None
"""
    proof = await judged(tmp_path, {"conftest.py": conftest})

    assert not proof.passed
    assert {"verifier-changed", "tests-failed", "no-red-before-green"} <= rules(proof)
    assert "conftest.py" in {reason.where for reason in proof.reasons}
    candidate = proof.document["runs"]["candidate"]
    assert candidate["counts"]["passed"] == 4, "the cheat works where nobody looks"


async def test_cheat_2_product_code_ends_the_process_on_import(tmp_path):
    proof = await judged(tmp_path, {"shop/sums.py": "import os\n\nos._exit(0)\n"})

    assert not proof.passed
    assert {"report-missing", "exit-in-product"} <= rules(proof)
    assert "shop/sums.py:3" in {reason.where for reason in proof.reasons}


async def test_cheat_3_tests_are_weakened(tmp_path):
    weak = "from shop.sums import twice\n\n\ndef test_twice():\n    assert twice(2) == 4\n"
    proof = await judged(
        tmp_path, {"tests/test_sums.py": weak + "\n\ndef test_adds():\n    pass\n"}
    )

    assert not proof.passed
    assert {"verifier-changed", "tests-failed", "tests-lost"} <= rules(proof)


async def test_cheat_4_product_code_patches_the_test_framework(tmp_path):
    patch = """
import _pytest.runner

_real = _pytest.runner.TestReport.from_item_and_call


def _all_is_well(item, call):
    report = _real(item, call)
    report.outcome = "passed"
    report.longrepr = None
    return report


_pytest.runner.TestReport.from_item_and_call = _all_is_well
"""
    proof = await judged(tmp_path, {"shop/sums.py": BROKEN + patch})

    assert not proof.passed
    assert {"test-framework-in-product", "report-forged"} <= rules(proof)
    assert proof.document["runs"]["restored"]["counts"]["passed"] == 4, "it does work"


async def test_cheat_4_hidden_from_the_diff_audit_trips_the_planted_test(tmp_path):
    hidden = """
import importlib

_runner = importlib.import_module("".join(["_py", "test.", "runner"]))
_real = _runner.TestReport.from_item_and_call


def _all_is_well(item, call):
    report = _real(item, call)
    report.outcome = "passed"
    report.longrepr = None
    return report


_runner.TestReport.from_item_and_call = _all_is_well
"""
    proof = await judged(tmp_path, {"shop/sums.py": BROKEN + hidden})

    assert "test-framework-in-product" not in rules(proof)
    assert "report-forged" in rules(proof)


async def test_cheat_5_an_object_that_equals_everything(tmp_path):
    change = """class Any:
    def __eq__(self, other):
        return True

    __hash__ = None


def add(a, b):
    return Any()


def twice(a):
    return a + a
"""
    proof = await judged(tmp_path, {"shop/sums.py": change})

    assert rules(proof) == {"always-equal"}
    assert proof.document["runs"]["restored"]["counts"]["passed"] == 4, "it does work"


async def test_cheat_6_product_code_skips_the_module(tmp_path):
    skip = "import pytest\n\npytest.skip('not today', allow_module_level=True)\n"
    proof = await judged(tmp_path, {"shop/sums.py": skip})

    assert not proof.passed
    assert {"tests-lost", "test-framework-in-product", "skip-added"} <= rules(proof)


async def test_cheat_7_configuration_hides_the_tests(tmp_path):
    change = {"pytest.ini": "[pytest]\naddopts = --ignore=tests -k nothing\n"}
    proof = await judged(tmp_path, change)

    assert not proof.passed
    assert {"verifier-changed", "tests-failed"} <= rules(proof)
    assert "pytest.ini" in {reason.where for reason in proof.reasons}


async def test_a_new_test_file_that_mends_the_product_while_it_is_collected_is_left_out(tmp_path):
    mending = (
        "import shop.sums\n\nshop.sums.add = lambda a, b: a + b\n\n\ndef test_a():\n    pass\n"
    )
    proof = await judged(tmp_path, {"tests/test_aaa.py": mending})

    assert not proof.passed
    assert "tests-failed" in rules(proof)


async def test_a_module_that_takes_the_frameworks_place_is_refused(tmp_path):
    fake = """import pathlib
import sys

for word in sys.argv:
    if word.startswith("--junitxml="):
        cases = "".join(
            f'<testcase classname="tests.test_sums" name="{name}"/>'
            for name in ("test_adds", "test_adds_nothing", "test_adds_negative", "test_twice")
        )
        report = f"<testsuite>{cases}</testsuite>"
        pathlib.Path(word.split("=")[1]).write_text(report)
"""
    proof = await judged(tmp_path, {"pytest.py": fake})

    assert {"shadows-module", "report-forged"} <= rules(proof)


async def test_tests_behind_a_link_are_put_back_as_files(tmp_path):
    repository = Repository(tmp_path / "repository")
    (repository.path / "easy").mkdir()
    (repository.path / "easy" / "test_sums.py").write_text("def test_adds():\n    pass\n")
    (repository.path / "tests" / "test_sums.py").unlink()
    (repository.path / "tests").rmdir()
    (repository.path / "tests").symlink_to("easy")
    candidate = repository.commit({})
    commands = detect(directory_tree(repository.path), this_host()).best
    assert commands is not None
    (tmp_path / "scratch").mkdir()

    verified = await verify(
        Verification(
            repository.base, candidate, commands, repository.checkout, tmp_path / "scratch"
        )
    )

    assert not verified.proof.passed
    assert {"tests-failed", "verifier-changed"} <= rules(verified.proof)


async def test_another_tree_has_another_digest(tmp_path):
    first = await judged(tmp_path, {"shop/sums.py": FIXED})
    (tmp_path / "again").mkdir()
    second = await judged(tmp_path / "again", {"shop/sums.py": FIXED + "# more\n"})

    assert first.passed
    assert second.passed
    assert first.document["files_digest"] != second.document["files_digest"]
    assert first.digest != second.digest
