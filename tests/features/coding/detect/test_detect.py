"""Which commands are found in a tree, in which order, and why."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.errors import InvalidInput
from quarterdeck.features.coding.commands import (
    Command,
    Commands,
    ReportFormat,
    Source,
    commands_from_json,
)
from quarterdeck.features.coding.detect import Host, Tree, detect, directory_tree
from quarterdeck.features.coding.detect.host import Interpreter, environment_of
from quarterdeck.features.coding.detect.python import kept_arguments
from quarterdeck.features.coding.detect.shell import simple_commands

pytestmark = pytest.mark.req("ORC-6")
OWN = Interpreter("/opt/own/bin/python", "Quarterdeck's own Python 3.11")


def host(*tools: str, **facts) -> Host:
    return Host(
        lambda tool: f"/usr/bin/{tool}" if not tools or tool in tools else None, OWN, **facts
    )


def tree(**files: str) -> Tree:
    return tree_of(files)


def tree_of(files: dict[str, str]) -> Tree:
    return Tree(tuple(sorted(files)), lambda path: files[path].encode())


def stated(files: dict[str, str], *tools: str) -> Commands:
    best = detect(tree_of(files), host(*tools)).best
    assert best is not None
    return best


PYTHON_TEST = {"tests/test_a.py": "import pytest\n\ndef test_a(): pass\n"}
ROWS = {
    "uv": ({"pyproject.toml": "", "uv.lock": "", **PYTHON_TEST}, "python", "pytest"),
    "poetry": ({"pyproject.toml": "", "poetry.lock": "", **PYTHON_TEST}, "python", "pytest"),
    "pdm": ({"pyproject.toml": "", "pdm.lock": "", **PYTHON_TEST}, "python", "pytest"),
    "pipenv": ({"Pipfile": "", **PYTHON_TEST}, "python", "pytest"),
    "hatch": (
        {"pyproject.toml": "[tool.hatch.envs.default]\n", **PYTHON_TEST},
        "python",
        "pytest",
    ),
    "setup.py": ({"setup.py": "", **PYTHON_TEST}, "python", "pytest"),
    "requirements": ({"requirements.txt": "pytest", **PYTHON_TEST}, "python", "pytest"),
    "bare tests": (PYTHON_TEST, "python", "pytest"),
    "npm and node": (
        {"package.json": '{"scripts": {"test": "node --test"}}', "package-lock.json": ""},
        "node",
        "--test-reporter=junit",
    ),
    "pnpm and vitest": (
        {
            "package.json": '{"scripts": {"test": "vitest run"}}',
            "pnpm-lock.yaml": "",
            "node_modules/.bin/vitest": "",
        },
        "node",
        "--reporter=junit",
    ),
    "yarn and jest": (
        {
            "package.json": '{"devDependencies": {"jest": "*"}}',
            "yarn.lock": "",
            "node_modules/.bin/jest": "",
        },
        "node",
        "--json",
    ),
    "bun": (
        {"package.json": '{"scripts": {"test": "bun test"}}', "bun.lock": ""},
        "node",
        "--reporter=junit",
    ),
    "deno": ({"deno.json": "{}"}, "deno", "--junit-path={report}"),
    "rust": ({"Cargo.toml": "[package]"}, "rust", "--no-fail-fast"),
    "go": ({"go.mod": "module x"}, "go", "-json"),
    "go workspace": ({"go.work": "go 1.26\nuse (\n\t./a\n\t./b\n)\n"}, "go", "./b/..."),
    "maven": ({"pom.xml": "<project/>"}, "java", "test"),
    "maven wrapper": ({"pom.xml": "<project/>", "mvnw": ""}, "java", "mvnw"),
    "gradle": ({"build.gradle.kts": ""}, "gradle", "--offline"),
    "scala": ({"build.sbt": ""}, "scala", "test"),
    "dotnet": ({"app.sln": ""}, "dotnet", "trx"),
    "php": ({"composer.json": "{}", "vendor/bin/phpunit": ""}, "php", "--log-junit"),
    "ruby": ({"Gemfile": "gem 'rspec_junit_formatter'"}, "ruby", "RspecJunitFormatter"),
    "elixir": ({"mix.exs": "{:junit_formatter}"}, "elixir", "JUnitFormatter"),
    "cmake": ({"CMakeLists.txt": "enable_testing()"}, "cmake", "--output-junit"),
    "meson": ({"meson.build": ""}, "meson", "test"),
    "swift": ({"Package.swift": ""}, "swift", "--xunit-output"),
}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_table_is_recognised_by_its_markers(row):
    files, ecosystem, word = ROWS[row]
    best = stated(files)

    assert best.ecosystem == ecosystem
    assert best.unproved is None
    assert best.source is Source.MARKER
    assert best.test is not None
    assert word in best.test.argv
    assert best.test.report is not None
    assert ":" in best.test.provenance


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"pubspec.yaml": ""}, "reports cannot be read"),
        ({"gleam.toml": ""}, "reports cannot be read"),
        ({"Gemfile": "gem 'rspec'"}, "rspec_junit_formatter"),
        ({"CMakeLists.txt": "project(x)"}, "enables no tests"),
        ({"composer.json": "{}"}, "missing until the set-up"),
    ],
)
def test_what_gives_no_report_is_labelled_unproved(files, reason):
    assert reason in (stated(files).unproved or "")


def test_a_tool_that_is_not_here_is_named():
    best = stated({"go.mod": "module x"}, "cargo")

    assert best.unproved == "go is not on the PATH here."


def test_a_runnable_candidate_stands_before_one_that_is_not():
    found = detect(tree_of({"go.mod": "module x", "Cargo.toml": ""}), host("cargo"))

    assert [c.ecosystem for c in found.candidates] == ["rust", "go"]


def test_nothing_found_is_no_candidate():
    assert detect(tree_of({"README.md": "Hello"}), host()).best is None


CI = """name: CI
on:
  pull_request:
defaults:
  run:
    shell: bash
jobs:
  test:
    steps:
      - uses: actions/checkout@v4
      - run: uv sync
      - run: |
          echo start
          uv run --frozen pytest -n auto --cov=pkg tests/unit -m "not slow" | tee log
          uv run --frozen pytest -n auto --cov=pkg tests/unit -m "not slow"
"""


def test_ci_gives_the_flags_and_its_line():
    files = {"pyproject.toml": "", ".github/workflows/ci.yml": CI, **PYTHON_TEST}
    best = stated(files)

    assert best.source is Source.CI
    assert best.test is not None
    assert best.test.argv[-3:] == ("tests/unit", "-m", "not slow")
    assert best.test.provenance.startswith(".github/workflows/ci.yml:15 ")


def test_a_workflow_that_does_not_run_on_changes_is_passed_over():
    files = {".github/workflows/ci.yml": CI.replace("pull_request:", "schedule:"), **PYTHON_TEST}

    assert stated(files).source is Source.MARKER


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        (".gitlab-ci.yml", "unit:\n  script:\n    - pip install .\n    - pytest tests\n", 4),
        (
            ".circleci/config.yml",
            "jobs:\n  t:\n    steps:\n      - run: pytest tests\n",
            4,
        ),
        ("azure-pipelines.yml", "steps:\n- script: pytest tests\n", 2),
        (".travis.yml", "language: python\nscript: pytest tests\n", 2),
    ],
)
def test_other_ci_services_are_read_too(path, text, line):
    best = stated({path: text, **PYTHON_TEST})

    assert best.source is Source.CI
    assert best.test is not None
    assert best.test.argv[-1] == "tests"
    assert best.test.provenance.startswith(f"{path}:{line} ")


def test_ci_through_make_is_followed_to_what_make_runs():
    files = {
        ".gitlab-ci.yml": "unit:\n  script: [make test]\n",
        "Makefile": "PY ?= python3\ntest: lint\n\t$(PY) -m pytest -x tests/unit\nlint:\n\techo\n",
        **PYTHON_TEST,
    }
    best = stated(files)

    assert best.test is not None
    assert best.test.argv[-1] == "tests/unit"
    assert ".gitlab-ci.yml:2 → Makefile:3" in best.test.provenance


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("Makefile", "test:\n\tpytest tests/it\n"),
        ("justfile", "test *args:\n    pytest tests/it {{args}}\n"),
        ("Taskfile.yml", "version: 3\ntasks:\n  test:\n    cmds:\n      - pytest tests/it\n"),
        ("tox.ini", "[testenv]\ncommands = pytest tests/it {posargs}\n"),
        ("noxfile.py", "def tests(session):\n    session.run('pytest', 'tests/it')\n"),
        ("pyproject.toml", "[tool.poe.tasks]\ntest = 'pytest tests/it'\n"),
        ("pyproject.toml", "[tool.pdm.scripts]\ntest = {cmd = 'pytest tests/it'}\n"),
        (
            "pyproject.toml",
            "[tool.hatch.envs.d.scripts]\ntest = 'pytest {args:tests/it} tests/it'\n",
        ),
    ],
)
def test_wrapper_targets_are_followed(path, text):
    best = stated({path: text, **PYTHON_TEST})

    assert best.source is Source.WRAPPER
    assert best.test is not None
    assert best.test.argv[-1] == "tests/it"


def test_the_override_comes_first_and_its_protection_holds_for_all():
    files = {
        "quarterdeck.yaml": "test: run-tests --report {report}\nprotected: [data/]\n",
        **PYTHON_TEST,
    }
    found = detect(tree_of(files), host())

    assert [c.source for c in found.candidates[:2]] == [Source.OVERRIDE, Source.MARKER]
    assert {c.protected for c in found.candidates} == {("data/",)}


def test_a_broken_override_is_never_passed_over():
    with pytest.raises(InvalidInput, match="tests"):
        detect(tree_of({"quarterdeck.yaml": "tests: x\n", **PYTHON_TEST}), host())


def test_a_mentors_proposal_comes_last():
    test = Command(("python", "run.py", "{report}"), "mentor qwen", ReportFormat.JUNIT)
    found = detect(tree_of({"run.py": ""}), host(), [Commands("python", test=test)])

    assert [c.source for c in found.candidates] == [Source.MENTOR]


def test_a_project_in_a_sub_directory_is_found():
    files = {"backend/pyproject.toml": "", "backend/tests/test_a.py": "import pytest"}
    best = stated(files)

    assert best.test is not None
    assert best.test.directory == "backend"
    assert best.test.env["PYTHONPATH"] == "{tree}/backend"


def test_the_targets_own_environment_is_used_where_it_can_run_pytest(tmp_path):
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    assert environment_of(venv) is None
    (venv / "lib/python3.11/site-packages/pytest").mkdir(parents=True)

    found = environment_of(venv)
    assert found is not None
    best = detect(tree_of(PYTHON_TEST), host(venv=found)).best

    assert best is not None
    assert best.test is not None
    assert best.test.argv[0] == str(venv / "bin" / "python")
    assert str(venv) in best.test.readable
    assert "own .venv" in best.test.provenance


def test_a_pinned_interpreter_is_used_or_its_absence_said():
    files = {".python-version": "3.12.4\n", **PYTHON_TEST}
    pinned = Interpreter("/usr/bin/python3.12", "python3.12 on the PATH, as pinned")
    with_it = detect(tree_of(files), host(pinned=lambda v: pinned if v == "3.12" else None)).best
    without = stated(files)

    assert with_it is not None
    assert with_it.test is not None
    assert with_it.test.argv[0] == "/usr/bin/python3.12"
    assert without.test is not None
    assert "no Python 3.12 with pytest" in without.test.provenance


def test_our_own_plugins_are_switched_off_unless_the_project_names_them():
    plugins = (("asyncio", "pytest-asyncio"), ("xdist", "pytest-xdist"))
    files = {"pyproject.toml": "[tool.pytest.ini_options]\nasyncio_mode = 'auto'\n", **PYTHON_TEST}
    best = detect(tree_of(files), host(plugins=plugins)).best

    assert best is not None
    assert best.test is not None
    assert "no:xdist" in best.test.argv
    assert "no:asyncio" not in best.test.argv


def test_unittest_files_are_collected_by_pytest():
    best = stated({"tests/testing_sums.py": "import unittest\n", "tests/test_a.py": ""})

    assert best.test is not None
    assert "python_files=test*.py *_test.py" in best.test.argv


def test_configured_options_without_their_plugins_are_left_out():
    files = {
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '--cov=x -n 4 --strict-markers'\n",
        **PYTHON_TEST,
    }
    best = stated(files)

    assert best.test is not None
    assert "addopts=--strict-markers" in best.test.argv


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cd app && pytest -q", [(("pytest", "-q"), "app")]),
        ("A=1 B='x y' pytest", [(("pytest",), ".")]),
        ("pytest | tee log", []),
        ("pytest $ARGS", []),
        ("if true; then pytest; fi", []),
        ("cd .. && pytest", [(("pytest",), ".")]),
        ("pytest 'unclosed", []),
    ],
)
def test_only_simple_commands_are_read_from_scripts(line, expected):
    found = [(step.words, step.directory) for step in simple_commands(line)]

    assert [f for f in found if "pytest" in f[0] and f[0][0] != "then"] == expected


def test_reports_and_parallel_flags_of_pytest_are_left_out():
    words = [
        "-n",
        "auto",
        "--cov=x",
        "--junitxml=a.xml",
        "-vv",
        "tests",
        "-k",
        "fast",
        "--timeout",
        "9",
    ]

    assert kept_arguments(words) == ("tests", "-k", "fast")


def test_commands_survive_json():
    best = stated(PYTHON_TEST)

    assert commands_from_json(json.loads(json.dumps(best.as_json()))) == best


def test_the_view_of_a_directory_follows_no_link_and_reads_no_giant(tmp_path):
    (tmp_path / "a.py").write_text("x")
    (tmp_path / "big").write_bytes(b"x" * 300_000)
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to(tmp_path)
    view = directory_tree(tmp_path)

    assert view.paths == ("a.py", "big")
    assert view.read("big") is None
    assert view.text("link") == ""


names = st.sampled_from(
    ["pyproject.toml", "package.json", "Makefile", "tox.ini", "noxfile.py", "setup.cfg",
     ".github/workflows/a.yml", ".gitlab-ci.yml", "Cargo.toml", "tests/test_a.py", "justfile",
     "Taskfile.yml", "deno.json", "go.work", ".python-version", "composer.json"]
)  # fmt: skip


@given(
    st.dictionaries(names, st.text(max_size=300) | st.sampled_from([CI, "{}", "[]", "a: &a *a"]))
)
def test_detection_never_fails_on_strange_files(files):
    for commands in detect(tree_of(files), host()).candidates:
        assert commands.test is None or commands.test.report is not None


def test_a_file_of_ci_that_cannot_be_read_leaves_a_note():
    files = {".github/workflows/ci.yml": "on: [push\njobs: {", **PYTHON_TEST}
    found = detect(tree_of(files), host())

    assert found.best is not None
    assert ".github/workflows/ci.yml" in found.notes[0]


def test_real_paths_are_accepted(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("def test_a(): pass\n")

    assert detect(directory_tree(Path(tmp_path)), host()).best is not None
