"""What the diff audit finds in a change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.coding import globs
from quarterdeck.features.coding.audit import Change, added_lines, audit
from quarterdeck.features.coding.audit_python import shadows
from quarterdeck.features.coding.protected import Kind, Role, hit, only_adds_tests, role

pytestmark = pytest.mark.req("ORC-9")


def blocking(path: str, after: str, before: str | None = "") -> set[str]:
    change = Change(path, None if before is None else before.encode(), after.encode())
    return {f.rule for f in audit([change]).findings if f.blocking}


def weighed(path: str, after: str, before: str = "") -> set[str]:
    findings = audit([Change(path, before.encode(), after.encode())]).findings
    return {f.rule for f in findings if not f.blocking}


@pytest.mark.parametrize(
    ("path", "code", "rule"),
    [
        ("pkg/a.py", "import pytest", "test-framework-in-product"),
        ("pkg/a.py", "from _pytest.runner import x", "test-framework-in-product"),
        ("pkg/a.py", "def f():\n    from unittest import mock", "test-framework-in-product"),
        ("pkg/a.py", "m = __import__('_pytest.runner')", "test-framework-in-product"),
        ("pkg/a.py", "import os\ndef f(): os._exit(0)", "exit-in-product"),
        ("pkg/a.py", "from os import _exit", "exit-in-product"),
        ("pkg/a.py", "import sys\nsys.exit(0)", "exit-in-product"),
        ("pkg/a.py", "if x:\n    raise SystemExit", "exit-in-product"),
        ("pkg/a.py", "import sys\nsys.settrace(f)", "interpreter-hook"),
        ("pkg/a.py", "import gc\ngc.get_objects()", "interpreter-hook"),
        ("pkg/a.py", "import os\nos.environ.get('PYTEST_CURRENT_TEST')", "test-detection"),
        ("pkg/a.py", "class A:\n    def __eq__(self, o): return True", "always-equal"),
        ("pkg/a.py", "class A:\n    def __eq__(self, o): return self.x == 1", "always-equal"),
        ("pkg/a.py", "class A:\n    __eq__ = lambda s, o: True", "always-equal"),
        ("pkg/a.py", "type('A', (), {'__eq__': f})", "always-equal"),
        ("pkg/a.js", "const t = require('node:test')", "test-framework-in-product"),
        ("pkg/a.ts", "import {vi} from 'vitest'", "test-framework-in-product"),
        ("pkg/a.js", "process.exit(0)", "exit-in-product"),
        ("pkg/a.js", "if (process.env.JEST_WORKER_ID) {}", "test-detection"),
        ("pkg/a.go", 'import "testing"', "test-framework-in-product"),
        ("src/main/java/A.java", "import org.junit.Test;", "test-framework-in-product"),
        ("tests/test_a.py", "@pytest.mark.skip\ndef test_a(): ...", "skip-added"),
        ("tests/test_a.py", "pytest.xfail('no')", "skip-added"),
        ("a.test.js", "it.only('x', () => {})", "skip-added"),
        ("a_test.go", "\tt.Skip()", "skip-added"),
        ("src/lib.rs", "#[ignore]", "skip-added"),
    ],
)
def test_what_makes_its_own_judgement_worthless_fails(path, code, rule):
    assert rule in blocking(path, code)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("pkg/a.py", "import json\n\ndef add(a, b):\n    return a + b\n"),
        ("pkg/cli.py", "import sys\n\ndef main():\n    sys.exit(1)\n"),
        ("pkg/cli.py", "import sys\nif __name__ == '__main__':\n    sys.exit(1)\n"),
        (
            "pkg/a.py",
            """class A:
    def __eq__(self, o):
        if not isinstance(o, A):
            return NotImplemented
        return self.x == o.x
""",
        ),
        ("pkg/a.py", "class A:\n    def __eq__(self, o): return NotImplemented\n"),
        ("tests/test_a.py", "import pytest\n\ndef test_a(): ...\n"),
        ("tests/conftest.py", "import pytest\n"),
        ("pkg/pytester.py", "x = 1\n"),
        ("docs/testing.md", "Use `pytest.skip()` with care.\n"),
        ("bin/cli.js", "function main() {\n  process.exit(1)\n}\n"),
        ("pkg/a_test.go", 'import "testing"\n'),
    ],
)
def test_ordinary_code_is_left_alone(path, code):
    assert blocking(path, code) == set()


def test_what_the_base_did_already_is_no_finding():
    old = "import pytest\nimport os\n\ndef f(): os._exit(1)\n"

    assert blocking("pkg/plugin.py", old + "\nx = 1\n", before=old) == set()
    assert blocking("pkg/plugin.py", old + "\ndef g(): os._exit(1)\n", before=old) == {
        "exit-in-product"
    }


def test_silencers_are_shown_but_do_not_fail():
    code = "x = f()  # noqa\ny = g()  # type: ignore\nz = 1  # pragma: no cover\n"

    assert weighed("pkg/a.py", code) == {"suppression-added"}
    assert blocking("pkg/a.py", code) == set()


def test_a_module_that_hides_another_is_found():
    assert shadows("json.py") == "json"
    assert shadows("src/pytest/__init__.py") == "pytest"
    assert shadows("pkg/json.py") is None
    assert "shadows-module" in blocking("unittest.py", "", before=None)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("tests/test_a.py", Role.TEST),
        ("pkg/sub/test_a.py", Role.TEST),
        ("tests/data/x.json", Role.TEST),
        ("src/a.test.ts", Role.TEST),
        ("a_test.go", Role.TEST),
        ("src/test/java/ATest.java", Role.TEST),
        ("conftest.py", Role.CONFIG),
        ("tests/conftest.py", Role.CONFIG),
        ("sitecustomize.py", Role.CONFIG),
        ("x.pth", Role.CONFIG),
        ("evil.egg-info/entry_points.txt", Role.CONFIG),
        (".github/workflows/ci.yml", Role.CONFIG),
        ("quarterdeck.yaml", Role.CONFIG),
        ("Makefile", Role.CONFIG),
        ("vitest.config.ts", Role.CONFIG),
        ("node_modules/.bin/jest", Role.CONFIG),
        ("pyproject.toml", Role.MIXED),
        ("package.json", Role.MIXED),
        ("src/pkg/latest.py", Role.PRODUCT),
        ("attest.py", Role.PRODUCT),
    ],
)
def test_each_file_has_its_part(path, part):
    assert role(path) is part


def test_the_repositorys_own_globs_protect_too():
    assert role("golden/a.json", ("golden/",)) is Role.CONFIG


@pytest.mark.parametrize(
    ("path", "before", "after", "kind"),
    [
        ("pyproject.toml", "[project]\nname='a'\n", "[project]\nname='b'\n", None),
        (
            "pyproject.toml",
            "[tool.pytest.ini_options]\naddopts=''\n",
            "[tool.pytest.ini_options]\naddopts='-k x'\n",
            Kind.CONFIG_CHANGED,
        ),
        ("pyproject.toml", "", "[project.entry-points.pytest11]\na='b'\n", Kind.CONFIG_CHANGED),
        ("package.json", '{"version": "1"}', '{"version": "2"}', None),
        ("package.json", "{}", '{"scripts": {"test": "true"}}', Kind.CONFIG_CHANGED),
        ("setup.cfg", "[metadata]\nname=a\n", "[metadata]\nname=b\n", None),
        ("setup.cfg", "", "[tool:pytest]\naddopts=-x\n", Kind.CONFIG_CHANGED),
        ("pytest.ini", None, "[pytest]\n", Kind.CONFIG_ADDED),
        ("conftest.py", "x = 1", None, Kind.CONFIG_REMOVED),
        ("tests/test_a.py", None, "x = 1", Kind.NEW_TEST),
        ("tests/test_a.py", "x = 1", None, Kind.TEST_REMOVED),
        ("a.test.js", "one\n", "one\ntwo\n", Kind.TEST_EXTENDED),
        ("a.test.js", "one\n", "two\n", Kind.TEST_CHANGED),
        ("pkg/a.py", "a", "b", None),
    ],
)
def test_touched_judges_are_named_by_kind(path, before, after, kind):
    found = hit(path, before and before.encode(), after and after.encode())

    assert (found.kind if found else None) is kind


OLD = "from pkg import add\n\n\ndef test_a():\n    assert add(1, 2) == 3\n"


@pytest.mark.parametrize(
    ("after", "only_adds"),
    [
        (OLD + "\n\ndef test_b():\n    assert add(2, 2) == 4\n", True),
        ("import json\n" + OLD, True),
        (OLD + "\n\nclass TestMore:\n    def test_c(self): ...\n", True),
        (OLD.replace("== 3", "!= 4"), False),
        (OLD + "\n\ndef test_a():\n    pass\n", False),
        (OLD + "\n\ndef add(a, b):\n    return 3\n", False),
        (OLD.replace("\n\n\n", "\nfrom fake import add\n\n\n"), False),
        (OLD + "\nlen = None\n", False),
        (OLD + "\n\n@pytest.fixture(autouse=True)\ndef always(): ...\n", False),
        (OLD + "\ntest_a = None\n", False),
        (OLD + "\nfrom fake import *\n", False),
        ("def broken(", False),
    ],
)
def test_only_new_tests_of_new_names_count_as_an_extension(after, only_adds):
    assert only_adds_tests(OLD.encode(), after.encode()) is only_adds


def test_a_class_may_gain_tests_but_not_fixtures():
    old = b"class TestA:\n    def test_a(self): assert f()\n"
    assert only_adds_tests(old, old + b"    def test_b(self): ...\n")
    assert not only_adds_tests(old, old + b"    def setup_method(self): ...\n")


def test_statistics_count_lines_and_files():
    changes = [
        Change("a.py", b"1\n2\n", b"2\n1\n3\n"),
        Change("b.py", None, b"x\n"),
        Change("c.py", b"y\n", None),
    ]
    stats = audit(changes).stats

    assert (stats.files_added, stats.files_changed, stats.files_removed) == (1, 1, 1)
    assert (stats.lines_added, stats.lines_removed) == (2, 1)


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("a/b/c.py", "**/*.py", True),
        ("c.py", "**/c.py", True),
        ("a/b", "a/*", True),
        ("a/b/c", "a/*", False),
        ("data/x/y", "data/", True),
        ("a.py", "?.py", True),
        ("a+b.py", "a+b.py", True),
    ],
)
def test_globs_keep_to_their_directories(path, pattern, fits):
    assert globs.matches(path, pattern) is fits


@given(
    st.binary(max_size=300),
    st.binary(max_size=300),
    st.sampled_from(["a.py", "tests/a.py", "a.js"]),
)
def test_the_audit_never_fails_on_strange_bytes(before, after, path):
    found = audit([Change(path, before, after)])

    assert found.stats.files_changed == 1


@given(st.lists(st.sampled_from("abcd"), max_size=30))
def test_a_moved_line_is_not_added(lines):
    content = "\n".join(lines)
    change = Change("a", content.encode(), "\n".join(reversed(lines)).encode())

    assert list(added_lines(change)) == []
