"""Which files judge a change, and whether a change touched them: tests and what steers them."""

from __future__ import annotations

import ast
import builtins
import configparser
import json
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from quarterdeck.features.coding import globs

CONFIG: tuple[str, ...] = (
    "quarterdeck.yaml",
    # Python
    "**/conftest.py", "**/pytest.ini", "**/.pytest.ini", "**/pytest.toml", "**/.pytest.toml",
    "**/tox.ini", "**/tox.toml", "**/noxfile.py", "**/.coveragerc", "**/sitecustomize.py",
    "**/usercustomize.py", "**/*.pth", "**/*.egg-info/**", "**/*.dist-info/**",
    "**/.python-version", "**/.venv/**", "**/pyvenv.cfg",
    # JavaScript
    "**/jest.config.*", "**/jest.setup.*", "**/vitest.config.*", "**/vitest.workspace.*",
    "**/vitest.setup.*", "**/vite.config.*", "**/.mocharc*", "**/karma.conf.*", "**/ava.config.*",
    "**/playwright.config.*", "**/cypress.config.*", "**/.npmrc", "**/.yarnrc*",
    "**/node_modules/**", "**/bunfig.toml", "**/.babelrc*", "**/babel.config.*",
    # wrappers
    "**/Makefile", "**/makefile", "**/GNUmakefile", "**/justfile", "**/Justfile", "**/.justfile",
    "**/Taskfile.y*ml",
    # others
    "**/.cargo/**", "**/.config/nextest.toml", "**/.mvn/**", "**/mvnw", "**/gradlew",
    "**/gradle/wrapper/**", "**/*.runsettings", "**/phpunit.xml*", "**/.rspec",
    "**/CTestCustom.cmake", "**/CTestTestfile.cmake",
    # continuous integration
    ".github/workflows/**", ".github/actions/**", ".gitlab-ci.yml", ".circleci/**",
    "azure-pipelines.yml", ".azure-pipelines/**", ".travis.yml", ".cirrus.yml", ".drone.yml",
    ".woodpecker.yml", "bitbucket-pipelines.yml", "appveyor.yml", "buildspec.yml", "Jenkinsfile",
)  # fmt: skip
TESTS: tuple[str, ...] = (
    "**/test/**", "**/tests/**", "**/testing/**", "**/__tests__/**", "**/spec/**", "**/specs/**",
    "**/e2e/**", "**/testdata/**", "**/__snapshots__/**", "**/test_*.py", "**/*_test.py",
    "**/tests.py", "**/*.test.*", "**/*.spec.*", "**/*_test.go", "**/*_test.exs", "**/*_spec.rb",
    "**/*_test.rb", "**/*_test.dart", "**/*Test.java", "**/*Tests.java", "**/*IT.java",
    "**/*Test.kt", "**/*Tests.cs", "**/*Test.php", "**/*Tests.swift", "**/*Spec.scala",
    "**/*Test.scala",
)  # fmt: skip


class Role(StrEnum):
    PRODUCT = "product"
    TEST = "test"
    CONFIG = "config"
    MIXED = "mixed"
    """Holds settings of the tests among other things, such as `pyproject.toml`."""


class Kind(StrEnum):
    """What happened to a file that judges the change."""

    NEW_TEST = "new-test"
    TEST_EXTENDED = "test-extended"
    """Tests were added to a file; all that was there is there still."""
    TEST_CHANGED = "test-changed"
    TEST_REMOVED = "test-removed"
    CONFIG_ADDED = "config-added"
    CONFIG_CHANGED = "config-changed"
    CONFIG_REMOVED = "config-removed"


HARMLESS = frozenset({Kind.NEW_TEST, Kind.TEST_EXTENDED})


@dataclass(frozen=True, slots=True)
class Hit:
    """A file that judges the change and was touched by it."""

    path: str
    kind: Kind


def role(path: str, protected: Sequence[str] = ()) -> Role:
    """What part a file plays; `protected` are the globs that the repository itself adds."""
    name = path.rsplit("/", 1)[-1]
    if any(globs.matches(path, pattern) for pattern in (*CONFIG, *protected)):
        return Role.CONFIG
    if name in _MIXED:
        return Role.MIXED
    if any(globs.matches(path, pattern) for pattern in TESTS):
        return Role.TEST
    return Role.PRODUCT


def hit(
    path: str, before: bytes | None, after: bytes | None, protected: Sequence[str] = ()
) -> Hit | None:
    """How the change of one file touches what judges it, None when it does not.

    `before` and `after` are the file's bytes, None where there is no file.
    """
    if before == after:
        return None
    match role(path, protected):
        case Role.CONFIG:
            return Hit(path, _config_kind(before, after))
        case Role.MIXED:
            reader = _MIXED[path.rsplit("/", 1)[-1]]
            same = reader(before or b"") == reader(after or b"")
            return None if same else Hit(path, _config_kind(before, after))
        case Role.TEST:
            return Hit(path, _test_kind(path, before, after))
    return None


def _config_kind(before: bytes | None, after: bytes | None) -> Kind:
    if before is None:
        return Kind.CONFIG_ADDED
    return Kind.CONFIG_REMOVED if after is None else Kind.CONFIG_CHANGED


def _test_kind(path: str, before: bytes | None, after: bytes | None) -> Kind:
    if before is None:
        return Kind.NEW_TEST
    if after is None:
        return Kind.TEST_REMOVED
    only_adds = (
        only_adds_tests(before, after) if path.endswith(".py") else _only_adds(before, after)
    )
    return Kind.TEST_EXTENDED if only_adds else Kind.TEST_CHANGED


def _only_adds(before: bytes, after: bytes) -> bool:
    return not Counter(before.splitlines()) - Counter(after.splitlines())


def only_adds_tests(before: bytes, after: bytes) -> bool:
    """Whether a Python test file keeps all it had and gains only imports and tests of new names.

    An added name that was bound before, or that hides a built-in, could change what the old tests
    do; so could a fixture, a mark or any other statement.
    """
    try:
        old, new = ast.parse(before), ast.parse(after)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return _extends(old.body, new.body)


def _extends(old: Sequence[ast.stmt], new: Sequence[ast.stmt]) -> bool:
    kept = [ast.dump(statement) for statement in old]
    position = 0
    added: list[ast.stmt] = []
    for statement in new:
        if (
            position < len(kept)
            and ast.dump(statement) == kept[position]
            or position < len(old)
            and _extends_class(old[position], statement)
        ):
            position += 1
        else:
            added.append(statement)
    bound = {name for statement in old for name in _bound(statement)} | set(dir(builtins))
    return position == len(kept) and all(
        _is_addition(statement) and not bound & set(_bound(statement)) for statement in added
    )


def _extends_class(old: ast.stmt, new: ast.stmt) -> bool:
    if not (isinstance(old, ast.ClassDef) and isinstance(new, ast.ClassDef)):
        return False
    head = [old.name, *map(ast.dump, (*old.bases, *old.keywords, *old.decorator_list))]
    other = [new.name, *map(ast.dump, (*new.bases, *new.keywords, *new.decorator_list))]
    return head == other and _extends(old.body, new.body)


def _is_addition(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return not any(alias.name == "*" for alias in statement.names)
    named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return isinstance(statement, named) and statement.name.lower().startswith("test")


def _bound(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    return [n.id for n in ast.walk(statement) if isinstance(n, ast.Name)]


def _pyproject(content: bytes) -> Any:
    try:
        document = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        return content
    tool = document.get("tool", {})
    project = document.get("project", {})
    if not isinstance(tool, dict) or not isinstance(project, dict):
        return content
    names = ("pytest", "tox", "coverage", "poe", "nox", "hatch")
    scripts = tool.get("pdm", {}) if isinstance(tool.get("pdm"), dict) else {}
    plugins = project.get("entry-points", {})
    return (
        [tool.get(name) for name in names],
        scripts.get("scripts"),
        plugins.get("pytest11") if isinstance(plugins, dict) else plugins,
    )


def _setup_cfg(content: bytes) -> Any:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(content.decode())
    except (configparser.Error, UnicodeDecodeError):
        return content
    names = [
        s for s in parser.sections() if s.startswith(("tool:pytest", "tox", "coverage", "test"))
    ]
    points = parser.get("options.entry_points", "pytest11", fallback=None)
    return [(name, parser.items(name)) for name in names], points


def _json_keys(*keys: str) -> Callable[[bytes], Any]:
    def read(content: bytes) -> Any:
        try:
            document = json.loads(content or b"{}")
        except (ValueError, RecursionError):
            return content
        return [document.get(key) for key in keys] if isinstance(document, dict) else content

    return read


_MIXED: Mapping[str, Callable[[bytes], Any]] = {
    "pyproject.toml": _pyproject,
    "setup.cfg": _setup_cfg,
    "package.json": _json_keys(
        "scripts", "jest", "vitest", "mocha", "ava", "tap", "c8", "nyc", "packageManager", "type"
    ),
    "composer.json": _json_keys("scripts", "autoload-dev"),
    "deno.json": _json_keys("test", "tasks"),
}
