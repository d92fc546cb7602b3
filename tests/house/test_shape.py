"""Sizes, names and docstrings: a file, a function, a name says one thing."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
BANNED_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def test_files_stay_short(texts):
    long = {
        name: lines
        for name, text in texts.items()
        if name.endswith((".py", ".ts", ".tsx", ".css", ".yaml"))
        and "generated" not in name
        and (lines := text.count("\n")) > FILE_LINES_MAX
    }
    assert not long, f"a file past {FILE_LINES_MAX} lines is usually two things"


def test_functions_stay_short(sources):
    long = [
        f"{source.name}:{node.lineno} {node.name}: {lines} lines"
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, DEFINITIONS)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long, f"a function past {FUNCTION_LINES_MAX} lines is usually two things"


def test_names_say_what_is_inside(sources):
    empty = [
        source.name
        for source in sources
        if BANNED_NAMES.intersection(PurePosixPath(source.name).with_suffix("").parts)
    ]
    assert not empty, "name a module for what it computes"


def test_every_module_says_its_purpose(sources):
    silent = [source.name for source in sources if not _purpose(source.tree)]
    assert not silent, "begin the module with one sentence, capital to full stop"


def test_every_package_says_its_purpose(texts, product):
    folders = {PurePosixPath(source.name).parent for source in product}
    missing = [f"{folder}/__init__.py" for folder in folders]
    assert not [name for name in missing if name not in texts]


def _purpose(tree: ast.Module) -> bool:
    if not tree.body:
        return False
    first = (ast.get_docstring(tree) or "").split("\n\n")[0].strip()
    return bool(first) and not first[0].islower() and first.endswith((".", ":"))
