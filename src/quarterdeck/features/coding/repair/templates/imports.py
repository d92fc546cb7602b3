"""Missing imports: a name that nothing binds but another file, or the standard library, does."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from functools import lru_cache

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 1.0
_MODULES = (
    "math", "re", "os", "itertools", "functools", "collections", "collections.abc", "datetime",
    "operator", "typing", "pathlib", "string", "copy", "time", "contextlib", "dataclasses",
    "decimal", "fractions", "textwrap", "bisect", "heapq", "random", "json", "types", "warnings",
)  # fmt: skip


def propose(site: Site) -> Iterator[Edit]:
    """For each name the faults say is undefined, the import that would bind it, at the top."""
    used = {node.id for node in site.of(ast.Name)}
    for fault in site.faults:
        if fault.type == "NameError" and fault.missing in used:
            assert fault.missing is not None
            for line in _imports_of(fault.missing):
                at = _place(site)
                yield site.splice(at, at, f"{line}\n", rule="missing import", prior=1.0)


@lru_cache(maxsize=256)
def _imports_of(name: str) -> tuple[str, ...]:
    """Import lines of the standard library that bind the name."""
    found = [f"import {name}"] if name in sys.stdlib_module_names else []
    homes = [module for module in _MODULES if hasattr(importlib.import_module(module), name)]
    found += [f"from {module} import {name}" for module in homes]
    return tuple(found[:4])


def _place(site: Site) -> int:
    """Where a new import goes: after the last top-level import, else before the first statement."""
    body = site.source.tree.body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    if imports:
        last = imports[-1].end_lineno
        assert last is not None, "parsed nodes know their end"
        return site.source.line_start(last) + len(site.source.line(last))
    first = body[1] if len(body) > 1 and ast.get_docstring(site.source.tree) else body[0]
    return site.source.line_start(first.lineno)
