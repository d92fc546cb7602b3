"""CI configuration: the script lines of jobs that run for a pull request, with their places."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.features.coding.detect.shell import Simple, simple_commands
from quarterdeck.features.coding.detect.tree import READ_MAX, Tree
from quarterdeck.features.coding.yaml_nodes import Mapping, Node, Scalar, Sequence, parse, texts

Line = tuple[str, Simple]
"""The file, and one simple command of it (its `line` counts in that file)."""

_WORKFLOW = re.compile(r"\.github/workflows/[^/]+\.ya?ml")
_SCRIPT_KEYS = frozenset({"script", "before_script"})


def lines(tree: Tree) -> tuple[list[Line], list[str]]:
    """Every simple command of the CI jobs, and a note for each file that could not be read."""
    found: list[Line] = []
    notes: list[str] = []
    for path, reader in _files(tree):
        try:
            root = parse(tree.read(path) or b"", where=path, size_max=READ_MAX, aliases=True)
        except (InvalidInput, TooLarge) as error:
            notes.append(str(error))
            continue
        if isinstance(root, Mapping):
            found += [(path, step) for step in reader(root)]
    return found, notes


def _files(tree: Tree) -> Iterator[tuple[str, Callable[[Mapping], Iterator[Simple]]]]:
    for path in tree.paths:
        if _WORKFLOW.fullmatch(path):
            yield path, _github
    for path, reader in (
        (".gitlab-ci.yml", _gitlab),
        (".circleci/config.yml", _circle),
        ("azure-pipelines.yml", _azure),
        (".azure-pipelines/azure-pipelines.yml", _azure),
        (".travis.yml", _scripts),
        (".cirrus.yml", _scripts),
        ("bitbucket-pipelines.yml", _scripts),
        (".drone.yml", _scripts),
        (".woodpecker.yml", _scripts),
        ("appveyor.yml", _scripts),
        ("buildspec.yml", _scripts),
    ):
        if tree.has(path):
            yield path, reader


def _github(root: Mapping) -> Iterator[Simple]:
    events = root.get("on")
    names = {t.text for t in _names(events)}
    if not names & {"pull_request", "pull_request_target", "merge_group", "push", "workflow_call"}:
        return
    home = _directory(root)
    for job in _values(root.get("jobs")):
        base = _directory(job) or home
        steps = job.get("steps")
        for step in steps.items if isinstance(steps, Sequence) else []:
            run = step.get("run") if isinstance(step, Mapping) else None
            if isinstance(run, Scalar) and isinstance(step, Mapping):
                here = step.get("working-directory")
                place = here.text if isinstance(here, Scalar) else base
                yield from _placed(run, place)


def _directory(owner: Mapping) -> str | None:
    defaults = owner.get("defaults")
    run = defaults.get("run") if isinstance(defaults, Mapping) else None
    place = run.get("working-directory") if isinstance(run, Mapping) else None
    return place.text if isinstance(place, Scalar) else None


def _gitlab(root: Mapping) -> Iterator[Simple]:
    for key, job in root.pairs:
        if isinstance(job, Mapping) and not key.text.startswith("."):
            yield from _from_keys(job, _SCRIPT_KEYS)


def _circle(root: Mapping) -> Iterator[Simple]:
    for job in _values(root.get("jobs")):
        steps = job.get("steps")
        for step in steps.items if isinstance(steps, Sequence) else []:
            run = step.get("run") if isinstance(step, Mapping) else None
            command = run.get("command") if isinstance(run, Mapping) else run
            if isinstance(command, Scalar):
                yield from _placed(command, None)


def _azure(root: Mapping) -> Iterator[Simple]:
    yield from _from_keys(root, frozenset({"script", "bash"}))


def _scripts(root: Mapping) -> Iterator[Simple]:
    keys = {"script", "commands", "test_script", "before_script", "install"}
    yield from _from_keys(root, frozenset(keys))


def _from_keys(root: Node, keys: frozenset[str], limit: int = 2000) -> Iterator[Simple]:
    """The scripts below any of `keys`, at any depth, bounded because aliases may repeat."""
    frontier: list[Node] = [root]
    for _ in range(limit):
        if not frontier:
            return
        node = frontier.pop()
        if isinstance(node, Sequence):
            frontier.extend(reversed(node.items))
        elif isinstance(node, Mapping):
            for key, value in node.pairs:
                if key.text in keys and not isinstance(value, Mapping):
                    for text in texts(value):
                        yield from _placed(text, None)
                else:
                    frontier.append(value)


def _placed(script: Scalar, directory: str | None) -> Iterator[Simple]:
    block = "\n" in script.text.strip()
    for step in simple_commands(script.text, first_line=script.line + (1 if block else 0)):
        place = _clean(directory)
        inner = step.directory if place == "." else f"{place}/{step.directory}".removesuffix("/.")
        yield Simple(step.words, step.line, step.env, inner)


def _clean(directory: str | None) -> str:
    parts = [p for p in (directory or "").split("/") if p not in ("", ".")]
    if ".." in parts or any("$" in p for p in parts):
        return "."
    return "/".join(parts) or "."


def _names(node: Node | None) -> Iterator[Scalar]:
    if isinstance(node, Mapping):
        yield from (key for key, _ in node.pairs)
    else:
        yield from texts(node, limit=100)


def _values(node: Node | None) -> Iterator[Mapping]:
    if isinstance(node, Mapping):
        yield from (value for _, value in node.pairs if isinstance(value, Mapping))
