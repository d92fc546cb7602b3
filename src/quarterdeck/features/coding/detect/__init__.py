"""Detects how a repository is set up, built and tested; runs nothing and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from quarterdeck.features.coding import override
from quarterdeck.features.coding.commands import Command, Commands, Source
from quarterdeck.features.coding.detect import ci, families, node, python
from quarterdeck.features.coding.detect.host import Host, this_host
from quarterdeck.features.coding.detect.runners import recognised
from quarterdeck.features.coding.detect.scripts import TOOLS
from quarterdeck.features.coding.detect.shell import Simple
from quarterdeck.features.coding.detect.tree import Tree, directory_tree

__all__ = ["Detection", "Host", "Tree", "detect", "directory_tree", "this_host"]

SUBDIRECTORIES_MAX = 12
CANDIDATES_MAX = 20
_WRAPPER_TARGETS = ("test", "tests", "check", "unit", "unittest", "py", "testenv")
_IN_TREE = ("node_modules/.bin/", "vendor/bin/", "{tree}/")


@dataclass(frozen=True, slots=True)
class Detection:
    """Ranked candidates, the best first, and notes about what could not be read.

    A candidate that this machine cannot run carries the reason in `unproved` and stands behind all
    that it can. No candidate means the mission is held with a question.
    """

    candidates: tuple[Commands, ...]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Commands | None:
        return self.candidates[0] if self.candidates else None


def detect(tree: Tree, host: Host, proposals: Sequence[Commands] = ()) -> Detection:
    """How `tree` is built and tested: override, CI, wrappers, markers, then mentors' `proposals`.

    Raises:
        InvalidInput, TooLarge: when `quarterdeck.yaml` is there but breaks its schema; a broken
            override is never passed over.
    """
    found: list[Commands] = []
    stated = override.parse(tree.read(override.NAME)) if tree.has(override.NAME) else None
    if stated is not None:
        found.append(stated)
    from_ci, notes = _ci(tree, host)
    found += from_ci
    found += _wrappers(tree, host)
    for directory, inner in _places(tree):
        found += python.candidates(inner, host, directory)
        found += node.candidates(inner, host, directory)
        found += families.candidates(inner, directory)
    found += [replace(p, source=Source.MENTOR) for p in proposals]
    found = [each for commands in found for each in _without_download(commands)]
    checked = [_checked(commands, tree, host, stated) for commands in _distinct(found)]
    ranked = sorted(checked, key=lambda c: c.unproved is not None)
    return Detection(tuple(ranked[:CANDIDATES_MAX]), tuple(notes))


def _ci(tree: Tree, host: Host) -> tuple[list[Commands], list[str]]:
    lines, notes = ci.lines(tree)
    found: list[Commands] = []
    for path, step in lines:
        inner = tree if step.directory == "." else tree.below(step.directory)
        commands = recognised(
            replace(step, directory="."),
            f"{path}:{step.line}",
            tree=inner,
            host=host,
            source=Source.CI,
            directory=step.directory,
        )
        if commands is not None:
            found.append(commands)
    return found, notes


def _wrappers(tree: Tree, host: Host) -> Iterator[Commands]:
    for tool in TOOLS:
        if tool in ("npm", "composer"):
            continue  # package scripts are part of the markers' reading
        for target in _WRAPPER_TARGETS:
            step = Simple((tool, "-e", target) if tool == "tox" else (tool, target), 1)
            commands = recognised(
                step, f"{tool} {target}", tree=tree, host=host, source=Source.WRAPPER
            )
            if commands is not None:
                yield commands
                break


def _without_download(commands: Commands) -> Iterator[Commands]:
    """First as if everything were in place already; the proof on the base tells whether it is."""
    derived = commands.source in (Source.CI, Source.WRAPPER, Source.MARKER)
    if derived and commands.setup and commands.setup.network and commands.ecosystem != "python":
        yield replace(commands, setup=None)
    yield commands


def _places(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """The root, and the directories one or two levels down which hold a marker of their own."""
    yield ".", tree
    names = {
        "pyproject.toml", "setup.py", "package.json", "deno.json", "Cargo.toml", "go.mod",
        "pom.xml", "build.gradle", "build.gradle.kts", "Gemfile", "composer.json", "mix.exs",
        "CMakeLists.txt", "pubspec.yaml", "Package.swift",
    }  # fmt: skip
    homes = {
        path.rsplit("/", 1)[0]
        for path in tree.paths
        if 1 <= path.count("/") <= 2 and path.rsplit("/", 1)[-1] in names
    }
    for directory in sorted(homes, key=lambda d: (d.count("/"), d))[:SUBDIRECTORIES_MAX]:
        yield directory, tree.below(directory)


def _distinct(found: Sequence[Commands]) -> Iterator[Commands]:
    """The first of the candidates that run the same test command in the same place."""
    seen: set[tuple[object, ...]] = set()
    for commands in found:
        test = commands.test
        setup = commands.setup.argv if commands.setup else ()
        key = (test.argv, test.directory, setup) if test else (id(commands),)
        if key not in seen:
            seen.add(key)
            yield commands


def _checked(commands: Commands, tree: Tree, host: Host, stated: Commands | None) -> Commands:
    """The candidate with the reason why it cannot run here, and with the override's protection."""
    reason = commands.unproved or _obstacle(commands, tree, host)
    protected = commands.protected or (stated.protected if stated else ())
    return replace(commands, unproved=reason, protected=protected)


def _obstacle(commands: Commands, tree: Tree, host: Host) -> str | None:
    for command in (commands.setup, commands.build, commands.test):
        if command is None:
            continue
        reason = _missing(command, tree, host)
        if reason is None and command.network:
            reason = f"{' '.join(command.argv[:2])} downloads what it needs, and a sandbox may not."
        if reason is not None:
            return reason
    return None if commands.test else "no test command is known."


def _missing(command: Command, tree: Tree, host: Host) -> str | None:
    merged = command.argv[:3] == ("sh", "-c", families.MERGED)
    tool = command.argv[3 if merged else 0]
    if tool.startswith(_IN_TREE):
        here = tree if command.directory == "." else tree.below(command.directory)
        made = tool.startswith("{tree}") or here.has(tool)
        return None if made else f"{tool} is missing until the set-up has run."
    if tool.startswith("/") or tool == "sh":
        return None
    return None if host.which(tool) else f"{tool} is not on the PATH here."
