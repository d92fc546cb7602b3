"""Swapping code: what changes, what does not, and what needs a fresh import."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from quarterdeck.features.coding.repair.forkserver.swap import Functions, NotSwappable, Unchanged

TEXT = """\
LIMIT = 3


class Box:
    size = 1

    def grow(self, by=2):
        add = lambda n: n + by
        return add(self.size)


from functools import lru_cache

@lru_cache
def cached(n):
    return n + 1
"""
BOX = (4, 9)


@pytest.fixture
def module(tmp_path: Path):
    path = tmp_path / "boxes.py"
    path.write_text(TEXT)
    spec = importlib.util.spec_from_file_location("boxes_under_repair", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    yield made
    del sys.modules[spec.name]


@pytest.fixture
def functions(module, tmp_path: Path) -> Functions:
    found = Functions(str(tmp_path))
    found.index()
    return found


def patched(old: str, new: str, lines: tuple[int, int] = BOX) -> str:
    first, last = lines
    return "\n".join(TEXT.split("\n")[first - 1 : last]).replace(old, new) + "\n"


def test_a_living_function_runs_the_patched_code(module, functions):
    box = module.Box()

    functions.compile(module.__file__, *BOX, patched("self.size", "self.size * 10")).apply()

    assert box.grow() == 12


def test_code_inside_lambdas_is_swapped_too(module, functions):
    functions.compile(module.__file__, *BOX, patched("n + by", "n - by")).apply()

    assert module.Box().grow() == -1


def test_a_wrapped_function_is_found(module, functions):
    functions.compile(module.__file__, 14, 16, patched("n + 1", "n + 5", (14, 16))).apply()

    assert module.cached(1) == 6


def test_what_was_tried_is_not_tried_again(module, functions):
    functions.compile(module.__file__, *BOX, patched("n + by", "n - by"))

    with pytest.raises(Unchanged):
        functions.compile(module.__file__, *BOX, patched("n + by", "(n  -  by)"))
    with pytest.raises(Unchanged):
        functions.compile(module.__file__, *BOX, patched("", ""))


@pytest.mark.parametrize(("old", "new"), [("by=2", "by=3"), ("size = 1", "size = 2")])
def test_what_runs_at_import_cannot_be_swapped(module, functions, old, new):
    with pytest.raises(NotSwappable):
        functions.compile(module.__file__, *BOX, patched(old, new))


def test_what_is_not_python_is_said_so(module, functions):
    with pytest.raises(SyntaxError):
        functions.compile(module.__file__, *BOX, patched("n + by", "n +"))
