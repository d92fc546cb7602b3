"""Wrapper targets: what `make test`, `just test`, `npm test`, tox, nox and others really run."""

from __future__ import annotations

import ast
import configparser
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.features.coding import yaml_nodes
from quarterdeck.features.coding.detect.shell import Simple, simple_commands
from quarterdeck.features.coding.detect.tree import READ_MAX, Tree, line_of

Script = tuple[str, list[Simple]]
"""The file that holds the target, and its simple commands."""

_TARGET = re.compile(r"^(?P<name>[A-Za-z0-9_.-]+)[^:=\n]*:(?!=)(?P<needs>[^\n#]*)")
_VARIABLE = re.compile(r"^(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*[:?]?=\s*(?P<value>.*)$")
_USE = re.compile(r"\$[({](?P<name>[A-Za-z_][A-Za-z0-9_]*)[)}]")
_NEEDS_DEPTH_MAX = 4


def target_of(tool: str, target: str, tree: Tree) -> Script | None:
    """The commands behind `tool target` in the root of `tree`, or None when there is none.

    `tool` is one of `TOOLS`.
    """
    reader = TOOLS.get(tool)
    return reader(tree, target) if reader else None


def toml_of(tree: Tree, path: str) -> dict[str, Any]:
    """The TOML file as a mapping, empty when it is missing or broken."""
    try:
        return tomllib.loads(tree.text(path))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def json_of(tree: Tree, path: str) -> dict[str, Any]:
    """The JSON file as a mapping, empty when it is missing or broken."""
    try:
        value = json.loads(tree.text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def dig(value: Any, *keys: str) -> Any:
    """The value at a path of keys, None where the path ends early."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _make(tree: Tree, target: str) -> Script | None:
    path = tree.first("GNUmakefile", "makefile", "Makefile")
    if path is None:
        return None
    rules, variables = _rules(tree.text(path))
    found = _recipe(rules, variables, target, _NEEDS_DEPTH_MAX)
    return (path, found) if found else None


def _rules(
    text: str,
) -> tuple[dict[str, tuple[list[str], list[tuple[str, int]]]], dict[str, str]]:
    rules: dict[str, tuple[list[str], list[tuple[str, int]]]] = {}
    variables: dict[str, str] = {}
    current: list[tuple[str, int]] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if line[:1] in ("\t", " ") and current is not None:
            current.append((line.strip().lstrip("@-+"), number))
        elif match := _TARGET.match(line):
            current = rules.setdefault(match["name"], (match["needs"].split(), []))[1]
        elif match := _VARIABLE.match(line):
            variables.setdefault(match["name"], match["value"].strip())
            current = None
    return rules, variables


def _recipe(
    rules: Mapping[str, tuple[list[str], list[tuple[str, int]]]],
    variables: Mapping[str, str],
    target: str,
    depth: int,
) -> list[Simple]:
    if depth == 0 or target not in rules:
        return []
    needs, lines = rules[target]
    found = [step for need in needs for step in _recipe(rules, variables, need, depth - 1)]
    for text, number in lines:
        found += simple_commands(_expanded(text, variables), first_line=number)
    return found


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    for _ in range(3):
        text = _USE.sub(lambda use: variables.get(use["name"], use[0]), text)
    return text[:2000]


def _just(tree: Tree, target: str) -> Script | None:
    path = tree.first("justfile", "Justfile", ".justfile")
    if path is None:
        return None
    plain = re.sub(r"\{\{.*?\}\}", "", tree.text(path))
    rules, _ = _rules(plain)
    found = _recipe(rules, {}, target, _NEEDS_DEPTH_MAX)
    return (path, found) if found else None


def _task(tree: Tree, target: str) -> Script | None:
    path = tree.first("Taskfile.yml", "Taskfile.yaml", "taskfile.yml")
    if path is None:
        return None
    try:
        root = yaml_nodes.parse(
            (tree.read(path) or b""), where=path, size_max=READ_MAX, aliases=True
        )
    except (InvalidInput, TooLarge):
        return None
    tasks = root.get("tasks") if isinstance(root, yaml_nodes.Mapping) else None
    task = tasks.get(target) if isinstance(tasks, yaml_nodes.Mapping) else None
    commands = task.get("cmds") if isinstance(task, yaml_nodes.Mapping) else task
    found = [
        step
        for text in yaml_nodes.texts(commands)
        for step in simple_commands(text.text, first_line=text.line)
    ]
    return (path, found) if found else None


def _npm(tree: Tree, target: str) -> Script | None:
    script = dig(json_of(tree, "package.json"), "scripts", target)
    if not isinstance(script, str) or "no test specified" in script:
        return None
    line = line_of(tree.text("package.json"), f'"{target}"')
    return "package.json", simple_commands(script, first_line=line)


def _composer(tree: Tree, target: str) -> Script | None:
    script = dig(json_of(tree, "composer.json"), "scripts", target)
    lines = script if isinstance(script, list) else [script]
    number = line_of(tree.text("composer.json"), f'"{target}"')
    found = [
        step
        for text in lines
        if isinstance(text, str)
        for step in simple_commands(text, first_line=number)
    ]
    return ("composer.json", found) if found else None


def _poe(tree: Tree, target: str) -> Script | None:
    task = dig(toml_of(tree, "pyproject.toml"), "tool", "poe", "tasks", target)
    return _pyproject_script(tree, task, target)


def _pdm(tree: Tree, target: str) -> Script | None:
    task = dig(toml_of(tree, "pyproject.toml"), "tool", "pdm", "scripts", target)
    return _pyproject_script(tree, task, target)


def _hatch(tree: Tree, target: str) -> Script | None:
    environments = dig(toml_of(tree, "pyproject.toml"), "tool", "hatch", "envs")
    if not isinstance(environments, dict):
        return None
    for environment in environments.values():
        task = dig(environment, "scripts", target)
        if task is not None:
            return _pyproject_script(tree, task, target)
    return None


def _pyproject_script(tree: Tree, task: Any, target: str) -> Script | None:
    if isinstance(task, dict):
        task = task.get("cmd") or task.get("shell")
    lines = task if isinstance(task, list) else [task]
    text = " && ".join(line for line in lines if isinstance(line, str))
    if not text:
        return None
    return "pyproject.toml", simple_commands(
        re.sub(r"\{args[^}]*\}", "", text),
        first_line=line_of(tree.text("pyproject.toml"), f"{target} ="),
    )


def _tox(tree: Tree, target: str) -> Script | None:
    path = "tox.ini" if tree.has("tox.ini") else "setup.cfg"
    config = configparser.RawConfigParser(strict=False)
    try:
        config.read_string(tree.text(path))
    except configparser.Error:
        return None
    for section in (f"testenv:{target}", "testenv"):
        text = config.get(section, "commands", fallback="")
        plain = re.sub(r"\{posargs[^}]*\}|\[\]", "", text).replace("{envpython}", "python")
        if plain.strip():
            line = line_of(tree.text(path), "commands")
            return path, simple_commands(plain, first_line=line)
    return _tox_toml(tree)


def _tox_toml(tree: Tree) -> Script | None:
    for path, keys in (("tox.toml", ()), ("pyproject.toml", ("tool", "tox"))):
        commands = dig(toml_of(tree, path), *keys, "env_run_base", "commands")
        if isinstance(commands, list):
            line = line_of(tree.text(path), "commands")
            argvs = [[w for w in c if isinstance(w, str)] for c in commands if isinstance(c, list)]
            return path, [Simple(tuple(argv), line) for argv in argvs if argv]
    return None


def _nox(tree: Tree, target: str) -> Script | None:
    try:
        module = ast.parse(tree.text("noxfile.py"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    chosen = [f for f in functions if f.name == target] or functions
    found = [
        Simple(words, call.lineno)
        for function in chosen
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and (words := _session_run(call))
    ]
    return ("noxfile.py", found) if found else None


def _session_run(call: ast.Call) -> tuple[str, ...]:
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "run"):
        return ()
    return tuple(
        a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
    )


TOOLS: Mapping[str, Callable[[Tree, str], Script | None]] = {
    "make": _make,
    "just": _just,
    "task": _task,
    "npm": _npm,
    "composer": _composer,
    "poe": _poe,
    "pdm": _pdm,
    "hatch": _hatch,
    "tox": _tox,
    "nox": _nox,
}
