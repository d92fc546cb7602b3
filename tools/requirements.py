"""Lists every requirement with the tests marked for it, read from the sources without importing them.

A test names its rows with `@pytest.mark.req("ORC-3")`; the rows live in docs/requirements.toml.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Mark:
    """One requirement named by one test: `test` is `path::name`, `line` counts from 1."""

    row: str
    test: str
    line: int


def rows(root: Path = ROOT) -> dict[str, str]:
    """Requirement id → short title, in the order of docs/requirements.toml."""
    groups = tomllib.loads((root / "docs" / "requirements.toml").read_text("utf-8"))
    return {
        f"{group}-{n}": title for group, of in groups.items() for n, title in of["rows"].items()
    }


def marks(root: Path = ROOT) -> list[Mark]:
    """Every mark of every test file below `tests/`, in order of path and line."""
    files = sorted((root / "tests").rglob("*.py"))
    return [mark for file in files for mark in marks_in(file, file.relative_to(root).as_posix())]


def marks_in(file: Path, shown: str) -> Iterator[Mark]:
    """The marks of one file; a mark on a class or a module stands for all tests in it."""
    tree = ast.parse(file.read_text("utf-8"), filename=shown)
    yield from _below(tree, shown)


def _below(node: ast.AST, place: str) -> Iterator[Mark]:
    for child in ast.iter_child_nodes(node):
        inner = place
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{place}::{child.name}"
        if isinstance(child, ast.Call) and ast.unparse(child.func) == "pytest.mark.req":
            yield from (Mark(_text(arg, place), place, child.lineno) for arg in child.args)
        yield from _below(child, inner)


def _text(arg: ast.expr, place: str) -> str:
    if isinstance(arg, ast.Constant) and isinstance(arg.value, str):
        return arg.value
    raise SystemExit(f"{place}:{arg.lineno}: name the requirement as a plain string.")


def _table(shown: dict[str, list[str]], titles: dict[str, str]) -> str:
    lines: list[str] = []
    for row, tests in shown.items():
        lines.append(f"{row:<7} {len(tests):>3}  {titles[row]}")
        lines += [f"             {test}" for test in tests]
    missing = [row for row, tests in shown.items() if not tests]
    lines += ["", f"{len(shown) - len(missing)} of {len(shown)} requirements have a test."]
    if missing:
        lines.append("Without one: " + ", ".join(missing))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Print the table, or with `--json` one object per requirement; 1 when a test names no row."""
    parser = argparse.ArgumentParser(prog="./dev requirements", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    titles = rows()
    tests: dict[str, list[str]] = defaultdict(list)
    for mark in marks():
        tests[mark.row].append(mark.test)
    shown = {row: sorted(set(tests[row])) for row in titles}
    if options.json:
        listed = [{"id": row, "title": titles[row], "tests": found} for row, found in shown.items()]
        print(json.dumps({"requirements": listed}, indent=2, ensure_ascii=False))
    else:
        print(_table(shown, titles))
    unknown = sorted(set(tests) - set(titles))
    if unknown:
        print(f"Tests name rows that do not exist: {', '.join(unknown)}.", file=sys.stderr)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
