"""The target: its pytest command line, its private copy, and which files may be edited."""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.features.coding.repair.forkserver_client import PLUGIN
from quarterdeck.features.coding.repair.source import SIZE_MAX

FILES_MAX = 20_000
BYTES_MAX = 256 << 20
_SKIPPED_DIRS = frozenset(
    {".git", ".hg", ".svn", ".tox", ".nox", ".venv", "venv", "node_modules", "__pycache__"}
    | {".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".eggs", "htmlcov"}
)
_TEST_DIRS = frozenset({"tests", "test", "doc", "docs", "examples", "benchmarks", "bench"})
_CONFIG_FILES = frozenset({"setup.py", "noxfile.py", "conftest.py", "fabfile.py", "tasks.py"})
_DROPPED_FLAGS = frozenset(
    {"-x", "--exitfirst", "-q", "--quiet", "-v", "-vv", "--verbose", "--lf", "--last-failed"}
    | {"--ff", "--failed-first", "--pdb", "--sw", "--stepwise", "--cache-clear"}
)
_DROPPED_WITH_VALUE = ("--junitxml", "--junit-xml", "--maxfail", "-n", "--numprocesses", "--dist")
_DROPPED_PREFIXES = ("--cov", "--tb=", "--durations", "--color", "--report-log")


@dataclass(frozen=True, slots=True)
class TestCommand:
    """How to start pytest with our plugin: `before`, the plugin's flags, `after`."""

    __test__ = False

    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def argv(self) -> list[str]:
        flags = ["-p", f"{PLUGIN}.plugin", "-p", "no:randomly"]
        return [*self.before, *flags, *self.after]


def pytest_command(argv: Sequence[str], root: Path) -> TestCommand:
    """How the project's tests are started under pytest.

    Knows `pytest …`, `… python -m pytest …`, `coverage run -m pytest …` and `python -m unittest`.
    Raises InvalidInput when the command is none of these.
    """
    words = [str(root / argv[0]) if _is_relative_path(argv[0]) else argv[0], *argv[1:]]
    names = [PurePosixPath(word).name for word in words]
    for index, name in enumerate(names):
        if name in ("pytest", "py.test"):
            before = words[: index + 1]
            if names[0] in ("coverage", "coverage3") and words[index - 1] == "-m":
                before = [_python_beside(words[0]), "-m", "pytest"]
            return TestCommand(tuple(before), tuple(_kept(words[index + 1 :])))
        if name == "unittest" and words[index - 1] == "-m" and names[0].startswith("python"):
            return TestCommand((*words[:index], "pytest"), ())
    raise InvalidInput(
        "Repair without a model needs tests that pytest can run.",
        where=f"test command {' '.join(argv)!r}",
        hint="State a command such as python -m pytest in quarterdeck.yaml.",
    )


def _is_relative_path(word: str) -> bool:
    return "/" in word and not word.startswith("/")


def _python_beside(script: str) -> str:
    beside = Path(script).parent / "python"
    return str(beside) if "/" in script else "python"


def _kept(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments that choose tests; those that report, parallelise or stop early are dropped."""
    skip_next = False
    for word in arguments:
        if skip_next:
            skip_next = False
        elif word in _DROPPED_WITH_VALUE:
            skip_next = True
        elif not _is_dropped(word):
            yield word


def _is_dropped(word: str) -> bool:
    flag = word.split("=", 1)[0]
    return (
        word in _DROPPED_FLAGS
        or "{report}" in word
        or flag in _DROPPED_WITH_VALUE
        or word.startswith(_DROPPED_PREFIXES)
        or (word.startswith("-n") and word[2:].isdigit())
    )


def copy_tree(origin: Path, copy: Path) -> None:
    """Copy the project without histories, environments and caches.

    Raises TooLarge past FILES_MAX files or BYTES_MAX bytes.
    """
    files = size = 0
    for folder, names, plain in os.walk(origin):
        names[:] = [name for name in names if not _is_skipped(Path(folder) / name)]
        target = copy / Path(folder).relative_to(origin)
        target.mkdir(parents=True, exist_ok=True)
        links = [name for name in names if (Path(folder) / name).is_symlink()]
        for name in [*plain, *links]:
            one = Path(folder) / name
            files += 1
            size += 0 if one.is_symlink() else one.stat().st_size
            if files > FILES_MAX or size > BYTES_MAX:
                raise TooLarge(
                    f"The project is too large to repair in a copy ({files} files, {size} bytes).",
                    hint=f"At most {FILES_MAX} files and {BYTES_MAX} bytes.",
                )
            if one.is_symlink() or one.is_file():
                shutil.copy2(one, target / name, follow_symlinks=False)


def _is_skipped(folder: Path) -> bool:
    return folder.name in _SKIPPED_DIRS or (folder / "pyvenv.cfg").exists()


def editable_files(
    root: Path, protected: Sequence[str], test_files: Sequence[str]
) -> dict[str, Path]:
    """The source files a repair may touch, by path relative to `root`.

    Tests, their support files, configuration and whatever `protected` globs name are never among
    them.
    """
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        plain = path.is_file() and not path.is_symlink()
        if plain and path.stat().st_size <= SIZE_MAX and _may_edit(name, protected, test_files):
            found[name] = path
    return found


def _may_edit(name: str, protected: Sequence[str], test_files: Sequence[str]) -> bool:
    parts = PurePosixPath(name).parts
    base = parts[-1]
    return not (
        name in test_files
        or base in _CONFIG_FILES
        or base.startswith("test_")
        or base.endswith("_test.py")
        or any(part in _TEST_DIRS for part in parts[:-1])
        or any(fnmatch.fnmatch(name, pattern) for pattern in protected)
    )
