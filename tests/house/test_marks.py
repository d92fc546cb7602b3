"""Every test may name the requirement it shows; none may quietly not run."""

from __future__ import annotations

import ast
from pathlib import Path

from tools.requirements import marks, marks_in, rows

# Files with a test that cannot run everywhere → what is missing where it is left out.
SKIPPED = {
    "tests/cli/test_demo.py": "Node, for the sample in JavaScript",
    "tests/confine/test_attacks.py": "root, or a Python that an ordinary user can start",
    "tests/confine/test_limits.py": "namespaces, without which shared memory is the machine's own",
    "tests/confine/test_toolchain.py": "the toolchain in question",
    "tests/features/mentors/test_bundled_grammar.py": "the bundled model, where it was not installed",
    "tests/contract/ui_stream/test_real_client.py": "Node with npm and a package registry; in CI it fails",
    "tests/features/coding/test_testrun.py": "the tools of the ecosystem in question",
    "tests/features/coding/git/test_promote.py": "OpenSSH's ssh-keygen, as a second opinion; root",
    "tests/features/coding/git/test_signing.py": "OpenSSH's ssh-keygen, as a second opinion",
}
SKIPS = {"skip", "skipif", "xfail", "importorskip", "skipTest", "SkipTest", "expectedFailure"}


def test_marks_name_rows_that_exist():
    known = rows()
    unknown = [f"{mark.test}:{mark.line}: {mark.row}" for mark in marks() if mark.row not in known]
    assert not unknown, "the rows are in docs/requirements.toml"


def test_the_rows_are_whole():
    groups = {row.split("-")[0] for row in rows()}
    expected = "ORC CTL RUN STR DAG TEL VLT TEN FLT OPS QLT DOC"
    assert groups == set(expected.split())


def test_marks_are_found_on_functions_classes_modules_and_parameters(tmp_path: Path):
    file = tmp_path / "test_x.py"
    file.write_text(
        "pytestmark = pytest.mark.req('A-1')\n"
        "@pytest.mark.req('A-2', 'A-3')\n"
        "def test_a(): ...\n"
        "class TestB:\n"
        "    @pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.req('A-4'))])\n"
        "    async def test_c(self, x): ...\n"
    )
    found = {(mark.row, mark.test) for mark in marks_in(file, "t.py")}
    assert found == {
        ("A-1", "t.py"),
        ("A-2", "t.py::test_a"),
        ("A-3", "t.py::test_a"),
        ("A-4", "t.py::TestB::test_c"),
    }


def test_every_skip_is_listed_with_its_reason(sources):
    found = [
        f"{source.name}:{node.lineno}"
        for source in sources
        if source.name.startswith("tests/") and source.name not in SKIPPED
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute)
        and node.attr in SKIPS
        and ast.unparse(node.value) in {"pytest", "pytest.mark", "unittest", "self"}
    ]
    assert not found, "a test that cannot run somewhere is listed in SKIPPED, with what is missing"


def test_the_list_of_skips_is_true(texts):
    stale = [name for name, reason in SKIPPED.items() if name not in texts or len(reason) < 10]
    assert not stale
