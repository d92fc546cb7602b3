"""Recognises a test runner in a command line, through the tools that merely start it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from quarterdeck.features.coding.commands import Command, Commands, Source
from quarterdeck.features.coding.detect import families, node, python
from quarterdeck.features.coding.detect.host import Host
from quarterdeck.features.coding.detect.scripts import target_of
from quarterdeck.features.coding.detect.shell import Simple
from quarterdeck.features.coding.detect.tree import Tree

DEPTH_MAX = 4
# Words that only start something else.
_STARTERS = (
    ("uv", "run"),
    ("poetry", "run"),
    ("pdm", "run"),
    ("pipenv", "run"),
    ("rye", "run"),
    ("hatch", "run"),
    ("coverage", "run"),
    ("npx",),
    ("pnpm", "exec"),
    ("yarn", "exec"),
    ("bunx",),
    ("xvfb-run",),
    ("time",),
    ("sudo",),
    ("exec",),
    ("python", "-m"),
    ("python3", "-m"),
    ("-m",),
    ("cross-env",),
)
_STARTER_VALUES = frozenset({"--with", "--extra", "--group", "--python", "-p", "--source", "-a"})
_WRAPPERS: Mapping[str, str] = {
    "make": "test",
    "gmake": "test",
    "just": "test",
    "task": "test",
    "tox": "testenv",
    "nox": "tests",
    "poe": "test",
    "poethepoet": "test",
    "composer": "test",
}
_NODE_TOOLS = frozenset({"npm", "pnpm", "yarn", "bun"})
_PYTHON_TOOLS = frozenset({"hatch", "pdm"})


def recognised(
    step: Simple,
    provenance: str,
    *,
    tree: Tree,
    host: Host,
    source: Source,
    directory: str = ".",
    depth: int = DEPTH_MAX,
) -> Commands | None:
    """The commands whose test is what `step` runs, made to write a report, or None.

    `tree` is the view of `directory`. A wrapper (`make test`, `npm test`, tox…) is followed into
    its file, and the provenance then names both places.
    """
    words = _bare(step.words)
    if not words or depth == 0:
        return None
    through = _wrapper(words)
    if through is not None:
        found = _behind(
            through,
            provenance,
            tree=tree,
            host=host,
            source=source,
            directory=directory,
            depth=depth,
        )
        if found is not None or through[0] != "npm":
            return found
    commands = _runner(words, provenance, tree=tree, host=host, source=source, directory=directory)
    return _with_env(commands, step.env) if commands else None


def _bare(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words without whatever only starts the runner."""
    for _ in range(6):
        starter = next((s for s in _STARTERS if words[: len(s)] == s), None)
        if starter is None:
            return words
        words = words[len(starter) :]
        while words and words[0].startswith("-") and words[0] != "-m":
            words = words[2:] if words[0] in _STARTER_VALUES else words[1:]
    return words


def _wrapper(words: tuple[str, ...]) -> tuple[str, str] | None:
    tool, rest = words[0].rsplit("/", 1)[-1], [w for w in words[1:] if not w.startswith("-")]
    if tool in _NODE_TOOLS and rest:
        name = rest[1] if rest[0] in ("run", "run-script") and len(rest) > 1 else rest[0]
        return ("npm", {"t": "test"}.get(name, name)) if tool != "bun" or rest[0] == "run" else None
    if tool in _PYTHON_TOOLS and rest:
        return tool, rest[-1].rsplit(":", 1)[-1]
    if tool in _WRAPPERS:
        name = {"poethepoet": "poe", "gmake": "make"}.get(tool, tool)
        return name, _named(name, words) or (rest[-1] if rest else _WRAPPERS[tool])
    return None


def _named(tool: str, words: tuple[str, ...]) -> str | None:
    """The environment or session that `tox -e py` or `nox -s tests` names."""
    if tool not in ("tox", "nox"):
        return None
    for flag, value in pairwise(words):
        if flag in ("-e", "-s", "--session", "--sessions"):
            return value.split("-")[0] if tool == "nox" else value
    return "testenv"


def _behind(
    through: tuple[str, str],
    provenance: str,
    *,
    tree: Tree,
    host: Host,
    source: Source,
    directory: str,
    depth: int,
) -> Commands | None:
    script = target_of(through[0], through[1], tree)
    if script is None:
        return None
    path, steps = script
    prefix = "" if directory == "." else f"{directory}/"
    for step in steps:
        inner = tree if step.directory == "." else tree.below(step.directory)
        place = f"{provenance} → {prefix}{path}:{step.line}"
        found = recognised(
            step,
            place,
            tree=inner,
            host=host,
            source=source,
            directory=_below(directory, step.directory),
            depth=depth - 1,
        )
        if found is not None:
            return found
    return None


def _below(directory: str, inner: str) -> str:
    if inner == ".":
        return directory
    return inner if directory == "." else f"{directory}/{inner}"


def _runner(
    words: tuple[str, ...],
    provenance: str,
    *,
    tree: Tree,
    host: Host,
    source: Source,
    directory: str,
) -> Commands | None:
    tool = words[0].rsplit("/", 1)[-1]
    if tool in ("pytest", "py.test", "unittest"):
        unittest = tool == "unittest"
        arguments = () if unittest else words[1:]
        test = python.pytest_command(
            arguments, provenance, tree=tree, host=host, directory=directory, unittest=unittest
        )
        return Commands("python", test=test, source=source)
    found = node.runner_command(words, provenance, tree=tree)
    if found is not None:
        return Commands("node", test=_at(found, directory), source=source)
    return _family(words, provenance, tree=tree, source=source, directory=directory)


def _family(
    words: tuple[str, ...], provenance: str, *, tree: Tree, source: Source, directory: str
) -> Commands | None:
    for family in families.FAMILIES:
        opening = next((w for w in family.words if words[: len(w)] == w), None)
        if opening is None or tree.first(*family.markers) is None:
            continue
        rest = words[len(opening) :]
        if len(opening) == 1 and family.ecosystem in ("java", "gradle", "scala", "ruby"):
            goals = {"test", "verify", "check", "build", "install", "package", "spec"}
            if opening[0] not in ("rspec",) and not goals & {w.rsplit(":", 1)[-1] for w in rest}:
                continue
        return families.commands_of(family, tree, provenance, directory, source, words=rest)
    return None


def _at(command: Command, directory: str) -> Command:
    return replace(command, directory=directory)


def _with_env(commands: Commands, env: Mapping[str, str]) -> Commands:
    test = commands.test
    if not env or test is None:
        return commands
    return replace(commands, test=replace(test, env={**env, **test.env}))
