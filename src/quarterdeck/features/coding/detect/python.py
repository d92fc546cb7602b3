"""Python: which interpreter runs the tests, and with which flags, so that pytest reports them."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Sequence

from quarterdeck.features.coding.commands import Command, Commands, ReportFormat, Source
from quarterdeck.features.coding.detect.host import Host, Interpreter
from quarterdeck.features.coding.detect.scripts import dig, json_of, toml_of
from quarterdeck.features.coding.detect.tree import Tree, line_of

# Coverage, parallel runs, colours and reports of the project change nothing about what is tested;
# the plugins behind them may be missing here.
_DROPPED = re.compile(
    r"--(cov|no-cov|junit-?xml|junit-prefix|html|self-contained-html|numprocesses|dist|maxprocesses|"
    r"color|benchmark|cache-clear|pdb|lf|last-failed|ff|failed-first|nf|sw|stepwise|durations|"
    r"reruns|timeout|tb|verbose|quiet|maxfail|exitfirst|no-header|random-order)\b.*|-[vqsx]+|-n\d+"
    r"|-r[a-zA-Z]+"
)
_WITH_VALUE = re.compile(
    r"-n|--(numprocesses|dist|color|durations|maxfail|timeout|tb|reruns|junit-?xml|cov-report|"
    r"cov-config|html)"
)
TEXTS_MAX = 200
_UNITTEST_FILES = "python_files=test*.py *_test.py"
_MARKERS = (
    ("uv.lock", "uv"),
    ("poetry.lock", "poetry"),
    ("pdm.lock", "pdm"),
    ("Pipfile.lock", "pipenv"),
    ("Pipfile", "pipenv"),
    ("hatch.toml", "hatch"),
    ("pyproject.toml", "pip"),
    ("setup.py", "pip"),
    ("setup.cfg", "pip"),
    ("requirements.txt", "pip"),
    ("pytest.ini", "pip"),
    ("tox.ini", "pip"),
)
_INSTALL = {
    "uv": ("uv", "sync", "--frozen"),
    "poetry": ("poetry", "install", "--no-interaction"),
    "pdm": ("pdm", "install", "--frozen-lockfile"),
    "pipenv": ("pipenv", "sync", "--dev"),
}
_IN_ENVIRONMENT = {
    "uv": ("uv", "run", "--frozen", "python"),
    "poetry": ("poetry", "run", "python"),
    "pdm": ("pdm", "run", "python"),
    "pipenv": ("pipenv", "run", "python"),
}


def interpreter(tree: Tree, host: Host) -> Interpreter:
    """The Python that runs this tree's tests: its own environment, the pinned one, or ours."""
    if host.venv is not None:
        return host.venv
    version = pinned_version(tree)
    if version is None:
        return host.own
    found = host.pinned(version)
    if found is not None:
        return found
    why = f"{host.own.why}; no Python {version} with pytest, which the project pins, is here"
    return Interpreter(host.own.path, why, host.own.readable)


def pinned_version(tree: Tree) -> str | None:
    """The version (`3.12`) that `.python-version` or `.tool-versions` pins, None for none."""
    pin = tree.text(".python-version") or tree.text(".tool-versions")
    match = re.search(r"(?:^|python\s+|cpython-)(3\.\d{1,2})", pin, re.MULTILINE)
    return match[1] if match else None


def pytest_command(
    words: Sequence[str],
    provenance: str,
    *,
    tree: Tree,
    host: Host,
    directory: str = ".",
    unittest: bool = False,
) -> Command:
    """The command that runs pytest with `words` as arguments and writes JUnit to `{report}`."""
    chosen = interpreter(tree, host)
    flags = ["-p", "no:cacheprovider", "-q", "-o", "junit_family=xunit1"]
    # One file that does not import must not hide what the others say.
    flags += ["--continue-on-collection-errors"]
    if unittest:
        flags += ["-o", _UNITTEST_FILES]
    if chosen.path == host.own.path:
        flags += [*_strangers(tree, host), *_own_options(tree)]
    argv = (chosen.path, "-m", "pytest", *flags, "--junitxml={report}", *kept_arguments(words))
    return Command(
        argv,
        f"{provenance} (with {chosen.why})",
        report=ReportFormat.JUNIT,
        env={"PYTHONPATH": _import_path(tree, directory), "PYTHONDONTWRITEBYTECODE": "1"},
        directory=directory,
        readable=chosen.readable,
    )


def kept_arguments(words: Sequence[str]) -> tuple[str, ...]:
    """The arguments of pytest that say what is tested; the others are left out."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif _WITH_VALUE.fullmatch(word):
            skip = True
        elif not _DROPPED.fullmatch(word):
            kept.append(word)
    return tuple(kept)


def _strangers(tree: Tree, host: Host) -> list[str]:
    """Switches off the plugins that only our own environment brings, which nobody here mentions."""
    texts = " ".join(_texts(tree)).lower().replace("_", "-")
    flags: list[str] = []
    for name, distribution in host.plugins:
        known = (distribution.lower().replace("_", "-"), f"mark.{name}", f"{name}-mode")
        if not any(word in texts for word in known):
            flags += ["-p", f"no:{name}"]
    return flags


def _own_options(tree: Tree) -> list[str]:
    """`addopts` without the flags whose plugins our interpreter need not have."""
    options = _configured_options(tree)
    kept = kept_arguments(options)
    return [] if list(kept) == options else ["-o", f"addopts={shlex.join(kept)}"]


def _configured_options(tree: Tree) -> list[str]:
    for path in ("pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg"):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(tree.text(path))
        except configparser.Error:
            continue
        section = "tool:pytest" if path == "setup.cfg" else "pytest"
        if parser.has_option(section, "addopts"):
            return _words(parser.get(section, "addopts"))
    tool = dig(toml_of(tree, "pyproject.toml"), "tool", "pytest")
    options = dig(tool, "ini_options", "addopts") or dig(tool, "addopts")
    if isinstance(options, list):
        return [word for word in options if isinstance(word, str)]
    return _words(options) if isinstance(options, str) else []


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []


def _import_path(tree: Tree, directory: str) -> str:
    root = "{tree}" if directory == "." else f"{{tree}}/{directory}"
    has_src = any(p.startswith("src/") and p.endswith(".py") for p in tree.paths)
    return f"{root}/src:{root}" if has_src else root


def candidates(tree: Tree, host: Host, directory: str) -> list[Commands]:
    """What the markers of Python say about the root of `tree`."""
    marker, tool = next(((m, t) for m, t in _MARKERS if tree.has(m)), (None, "pip"))
    tests = _tests(tree)
    if marker is None:
        tests = [path for path in tests if not _in_project(path, tree)]
        marker = next((p for p in tests if "/" not in p), None) or (tests[0] if tests else None)
    if marker is None or not (tests or _mentions_pytest(tree)):
        return []
    if tool == "pip" and dig(toml_of(tree, "pyproject.toml"), "tool", "hatch", "envs"):
        tool = "hatch"
    prefix = "" if directory == "." else f"{directory}/"
    where = f"{prefix}{marker}:{_line(tree, marker)}"
    plain = _plain(tree, where, host, directory)
    return [plain, *_with_setup(tree, plain, tool, where, directory)]


def _plain(tree: Tree, where: str, host: Host, directory: str) -> Commands:
    unittest = not _mentions_pytest(tree)
    test = pytest_command([], where, tree=tree, host=host, directory=directory, unittest=unittest)
    notes = ()
    if tree.has("manage.py"):
        notes = ("A Django project needs pytest-django for its tests to be reported one by one.",)
    return Commands("python", test=test, source=Source.MARKER, notes=notes)


def _with_setup(
    tree: Tree, plain: Commands, tool: str, where: str, directory: str
) -> list[Commands]:
    """The same tests in an environment made by the project's own tool, which downloads it."""
    assert plain.test is not None
    if tool in _INSTALL:
        setup, python = _INSTALL[tool], _IN_ENVIRONMENT[tool]
    elif tree.first("pyproject.toml", "setup.py", "requirements.txt"):
        source = ("-e", ".") if tree.first("pyproject.toml", "setup.py") else ()
        files = tuple(w for p in _requirements(tree) for w in ("-r", p))
        setup = ("uv", "pip", "install", "--python", "{tree}/.venv", "pytest", *source, *files)
        python = ("{tree}/.venv/bin/python",)
        setup = ("sh", "-c", 'uv venv "$1" && shift && exec "$@"', "sh", "{tree}/.venv", *setup)
    else:
        return []
    test = Command(
        (*python, *plain.test.argv[1:]),
        f"{where} (in an environment made by {setup[0] if tool in _INSTALL else 'uv'})",
        report=ReportFormat.JUNIT,
        env=plain.test.env,
        directory=directory,
    )
    install = Command(setup, where, network=True, directory=directory)
    return [Commands("python", setup=install, test=test, source=Source.MARKER)]


def _requirements(tree: Tree) -> list[str]:
    names = ("requirements.txt", "requirements-dev.txt", "dev-requirements.txt")
    more = ("requirements-test.txt", "test-requirements.txt", "requirements/test.txt")
    return [name for name in (*names, *more) if tree.has(name)]


def _tests(tree: Tree) -> list[str]:
    return [p for p in tree.paths if re.search(r"(^|/)(test[^/]*|[^/]*_test)\.py$", p)]


def _in_project(path: str, tree: Tree) -> bool:
    """Whether a directory on the way to `path` is a project of its own."""
    parts = path.split("/")[:-1]
    homes = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    return any(tree.has(f"{h}/pyproject.toml") or tree.has(f"{h}/setup.py") for h in homes)


def _mentions_pytest(tree: Tree) -> bool:
    return any("pytest" in text for text in _texts(tree)) or bool(tree.any("conftest.py"))


def _texts(tree: Tree) -> list[str]:
    """The files that tell which of pytest's plugins a project uses."""
    settings = ("pytest.ini", "pyproject.toml", "setup.cfg", "setup.py", "tox.ini", "Pipfile")
    conftests = [p for p in tree.paths if p.rsplit("/", 1)[-1] == "conftest.py"]
    chosen = (*settings, *_requirements(tree), *conftests[:20], *_tests(tree)[:TEXTS_MAX])
    return [tree.text(path) for path in chosen]


def _line(tree: Tree, marker: str) -> int:
    return line_of(tree.text(marker), "pytest") if marker.endswith((".toml", ".ini")) else 1


def is_python(tree: Tree) -> bool:
    """Whether a marker of Python lies in the root."""
    return any(tree.has(marker) for marker, _ in _MARKERS) or bool(
        json_of(tree, "pyrightconfig.json")
    )
