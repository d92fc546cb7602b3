"""Constants that the failing tests mention: what was expected is often what is missing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from quarterdeck.features.coding.repair.spectrum import Spectrum

Constant: TypeAlias = int | float | str
_CONSTANTS_MAX = 40
_LENGTH_MAX = 80
_TESTS_MAX = 10


def mentioned(root: Path, spectrum: Spectrum) -> list[Constant]:
    """The numbers and short texts in the bodies of the failing tests, in their order."""
    found: dict[tuple[type, Constant], None] = {}
    for index in spectrum.failing[:_TESTS_MAX]:
        file, *names = spectrum.tests[index].id.partition("[")[0].split("::")
        for value in _constants_of(root / file, names[-1] if names else ""):
            found.setdefault((type(value), value))
    return [value for _, value in list(found)[:_CONSTANTS_MAX]]


def _constants_of(path: Path, function: str) -> Iterator[Constant]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for inner in ast.walk(node):
                match inner:
                    case ast.Constant(value=bool()):
                        continue
                    case ast.Constant(value=str(text)) if len(text) <= _LENGTH_MAX:
                        yield text
                    case ast.Constant(value=int() | float() as number):
                        yield number
                    case _:
                        continue
