"""Seeded one-site bugs in tested libraries.

The operators are what people do wrong, not the inverses of our templates: half of them take
something away that no single template restores as such.
"""

from __future__ import annotations

import ast
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.repair_sets import suite
from benchmarks.repair_sets.bug import Bug
from benchmarks.repair_sets.packages import LIBRARIES, source_tree

_FAILING_SHARE_MAX = 0.3
_COMPARE = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "is not": "is"}
Change = tuple[ast.AST, str]


def mutants(count: int, seed: int) -> Iterator[Bug]:
    """Up to `count` bugs that at least one and at most a third of the tests notice."""
    rng = random.Random(seed)  # noqa: S311 - a draw, not a secret
    trees = [
        (lib.name, tree) for lib in LIBRARIES if (tree := source_tree(lib.name, lib.releases[-1]))
    ]
    censuses: dict[Path, dict[str, bool]] = {}
    made = 0
    for _ in range(count * 12):
        if made >= count:
            return
        name, tree = rng.choice(trees)
        if tree not in censuses:
            outcomes = suite.run(tree) or {}
            censuses[tree] = {test: ok for test, ok in outcomes.items() if ok}
        if len(censuses[tree]) < 5:
            continue
        bug = _mutant(f"{name}-{made}", tree, censuses[tree], rng)
        if bug is not None:
            made += 1
            yield bug


def _mutant(name: str, tree: Path, passing: dict[str, bool], rng: random.Random) -> Bug | None:
    file = rng.choice(_sources(tree))
    text = file.read_bytes().decode()
    kind = rng.choice(sorted(OPERATORS))
    changes = list(OPERATORS[kind](ast.parse(text)))
    if not changes:
        return None
    node, replacement = rng.choice(changes)
    wrong = _replaced(text, node, replacement)
    if wrong is None or wrong == text:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        broken = suite.copy(tree, Path(scratch) / "tree")
        relative = file.relative_to(tree).as_posix()
        (broken / relative).write_bytes(wrong.encode())
        outcomes = suite.run(broken)
    if outcomes is None:
        return None
    failing = [test for test in passing if not outcomes.get(test, False)]
    if not failing or len(failing) > max(1, _FAILING_SHARE_MAX * len(passing)):
        return None
    hidden = hide(failing, sorted(passing), rng)
    return Bug(name, kind, tree, relative, wrong, tuple(failing), hidden, passing)


def hide(failing: list[str], passing: list[str], rng: random.Random) -> tuple[str, ...]:
    """Half of the failing tests (one always stays visible) and a fifth of the others."""
    shuffled = rng.sample(failing, len(failing))
    visible = shuffled[: (len(shuffled) + 1) // 2]
    others = [test for test in passing if test not in failing]
    hidden = [*shuffled[len(visible) :], *rng.sample(others, min(len(others) // 5, 150))]
    # pytest deselects by prefix: what begins a visible failing test's id must stay
    return tuple(h for h in hidden if not any(test.startswith(h) for test in visible))


def _sources(tree: Path) -> list[Path]:
    skipped = {"tests", "test", "docs", "doc", "examples", "bin", "build", "benchmark"}
    found = []
    for path in sorted(tree.rglob("*.py")):
        parts = path.relative_to(tree).parts
        plain = not path.name.startswith(("test", "setup", "conftest", "_version", "table_"))
        if plain and not skipped & set(parts[:-1]) and path.stat().st_size > 1500:
            found.append(path)
    return found


def _replaced(text: str, node: ast.AST, replacement: str) -> str | None:
    segment = ast.get_source_segment(text, node)
    if segment is None or text.count(segment) == 0:
        return None
    lines = text.split("\n")
    line = getattr(node, "lineno", 1)
    before = "\n".join(lines[: line - 1])
    prefix = lines[line - 1].encode()[: getattr(node, "col_offset", 0)].decode()
    start = len(before) + (1 if line > 1 else 0) + len(prefix)
    wrong = text[:start] + replacement + text[start + len(segment) :]
    try:
        ast.parse(wrong)
    except SyntaxError:
        return None
    return wrong


def _in_functions(tree: ast.AST, kind: type[ast.AST]) -> Iterator[ast.AST]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                for node in ast.walk(statement):
                    if isinstance(node, kind):
                        yield node


def _comparison(tree: ast.AST) -> Iterator[Change]:
    for node in _in_functions(tree, ast.Compare):
        text = ast.unparse(node)
        for old, new in _COMPARE.items():
            if f" {old} " in text and len(node.ops) == 1:  # type: ignore[attr-defined] # a Compare
                yield node, text.replace(f" {old} ", f" {new} ", 1)


def _dropped_statement(tree: ast.AST) -> Iterator[Change]:
    for kind in (ast.Expr, ast.AugAssign, ast.Continue, ast.Break):
        for node in _in_functions(tree, kind):
            if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                yield node, "pass"


def _dropped_guard(tree: ast.AST) -> Iterator[Change]:
    for node in _in_functions(tree, ast.If):
        short = isinstance(node, ast.If) and len(node.body) == 1 and not node.orelse
        if short and isinstance(node.body[0], ast.Return | ast.Raise | ast.Continue):
            yield node, "pass"


def _dropped_method(tree: ast.AST) -> Iterator[Change]:
    for node in _in_functions(tree, ast.Call):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and not node.keywords
        ):
            yield node, ast.unparse(node.func.value)


def _dropped_argument(tree: ast.AST) -> Iterator[Change]:
    for node in _in_functions(tree, ast.Call):
        if isinstance(node, ast.Call) and len(node.args) + len(node.keywords) > 1:
            changed = ast.Call(node.func, list(node.args), list(node.keywords))
            (changed.keywords or changed.args).pop()
            yield node, ast.unparse(changed)


def _dropped_step(tree: ast.AST) -> Iterator[Change]:
    for node in _in_functions(tree, ast.BinOp):
        if isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant):
            yield node, ast.unparse(node.left)


def _dropped_condition(tree: ast.AST) -> Iterator[Change]:
    for node in _in_functions(tree, ast.BoolOp):
        if isinstance(node, ast.BoolOp):
            yield node, f"({ast.unparse(node.values[0])})"
            yield node, f"({ast.unparse(node.values[-1])})"


def _dropped_slice(tree: ast.AST) -> Iterator[Change]:
    for node in _in_functions(tree, ast.Subscript):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            yield node, ast.unparse(node.value)


def _other_constant(tree: ast.AST) -> Iterator[Change]:
    for node in _in_functions(tree, ast.Constant):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            yield node, str(node.value + 1)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, str(not node.value)


def _other_name(tree: ast.AST) -> Iterator[Change]:
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        names = [arg.arg for arg in function.args.args if arg.arg != "self"]
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load):
                for other in names:
                    if other != node.id:
                        yield node, other


def _other_operator(tree: ast.AST) -> Iterator[Change]:
    swaps: dict[type[ast.operator], ast.operator] = {
        ast.Add: ast.Sub(), ast.Sub: ast.Add(), ast.Mult: ast.FloorDiv(), ast.FloorDiv: ast.Div(),
        ast.Mod: ast.FloorDiv(), ast.Div: ast.FloorDiv(),
    }  # fmt: skip
    for node in _in_functions(tree, ast.BinOp):
        if isinstance(node, ast.BinOp) and type(node.op) in swaps:
            yield node, f"({ast.unparse(ast.BinOp(node.left, swaps[type(node.op)], node.right))})"


def _negated(tree: ast.AST) -> Iterator[Change]:
    for node in _in_functions(tree, ast.If):
        if isinstance(node, ast.If):
            test = node.test
            if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
                yield test, ast.unparse(test.operand)
            else:
                yield test, f"not ({ast.unparse(test)})"


def _early_return(tree: ast.AST) -> Iterator[Change]:
    for node in _in_functions(tree, ast.For):
        if isinstance(node, ast.For):
            last = node.body[-1]
            if isinstance(last, ast.Assign | ast.AugAssign):
                yield last, f"{ast.unparse(last)}; break"


OPERATORS: dict[str, Callable[[ast.AST], Iterator[Change]]] = {
    "comparison": _comparison,
    "dropped statement": _dropped_statement,
    "dropped guard": _dropped_guard,
    "dropped method call": _dropped_method,
    "dropped argument": _dropped_argument,
    "dropped step": _dropped_step,
    "dropped condition": _dropped_condition,
    "dropped slice": _dropped_slice,
    "other constant": _other_constant,
    "other name": _other_name,
    "other operator": _other_operator,
    "negated condition": _negated,
    "early exit": _early_return,
}
CHANGING = frozenset(
    {"comparison", "other constant", "other name", "other operator", "negated condition"}
)
"""The operators that put something in another's place; the others take code away."""
