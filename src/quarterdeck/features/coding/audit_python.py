"""What Python product code must not begin to do while its tests watch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass

FRAMEWORKS = frozenset({
    "pytest", "_pytest", "py", "unittest", "nose", "nose2", "pluggy", "xdist", "hypothesis",
    "doctest", "mock", "conftest", "pytest_mock", "_doctest",
})  # fmt: skip
_EXITS = frozenset({"os._exit", "os.abort", "os.kill", "os.killpg", "signal.raise_signal"})
_TOP_EXITS = frozenset({"sys.exit", "exit", "quit", "SystemExit"})
_HOOKS = frozenset({
    "sys.settrace", "sys.setprofile", "threading.settrace", "threading.setprofile",
    "sys.meta_path", "sys.path_hooks", "sys.monitoring", "sys._current_frames",
    "gc.get_objects", "gc.get_referrers", "sys.addaudithook",
})  # fmt: skip
_FRAMES = frozenset({
    "sys._getframe", "inspect.stack", "inspect.currentframe", "atexit.register", "sys.modules",
    "sys.argv", "sys.orig_argv",
})  # fmt: skip
_WATCHED = ("PYTEST_CURRENT_TEST", "PYTEST_VERSION", "PYTEST_ADDOPTS", "junitxml")
_COMPARISONS = frozenset({"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"})


@dataclass(frozen=True, slots=True)
class Spot:
    """One thing found; `detail` (without a line) tells two findings of a rule apart."""

    rule: str
    line: int
    detail: str


def spots(content: bytes) -> list[Spot]:
    """All that a product file does of what the rules name; what its base did too is no news.

    A file that does not parse gives one spot of the rule `unreadable`.
    """
    try:
        module = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [Spot("unreadable", 1, f"it does not parse as Python: {error}"[:200])]
    found = list(_at_import(module.body))
    for node in ast.walk(module):
        found += _spots_of(node)
    return found


def shadows(path: str) -> str | None:
    """The module that a file in an import root hides from everybody, None when it hides none."""
    parts = path.removeprefix("src/").split("/")
    name = parts[0].removesuffix(".py")
    is_module = (len(parts) == 1 and path.endswith(".py")) or parts[1:] == ["__init__.py"]
    known = sys.stdlib_module_names | FRAMEWORKS
    return name if is_module and name in known else None


def _spots_of(node: ast.AST) -> Iterator[Spot]:
    match node:
        case ast.Import(names=names):
            yield from (
                _framework(alias.name, node.lineno) for alias in names if _is_framework(alias.name)
            )
        case ast.ImportFrom(module=str(module), level=0, names=names):
            if _is_framework(module):
                yield _framework(module, node.lineno)
            for alias in names:
                yield from _use(f"{module}.{alias.name}", node.lineno)
        case ast.Attribute():
            yield from _use(ast.unparse(node), node.lineno)
        case ast.Constant(value=str(text)):
            yield from _text(text, node.lineno)
        case ast.FunctionDef(name=name) if name in _COMPARISONS and _always(node):
            yield Spot("always-equal", node.lineno, f"{name} does not compare")
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as value):
            if name in _COMPARISONS and not _reads_all(value.args, [value.body]):
                yield Spot("always-equal", node.lineno, f"{name} does not compare")
        case _:
            return


def _use(name: str, line: int) -> Iterator[Spot]:
    if name in _EXITS:
        yield Spot("exit-in-product", line, name)
    elif name in _HOOKS:
        yield Spot("interpreter-hook", line, name)
    elif name in _FRAMES:
        yield Spot("looks-around", line, name)


def _text(text: str, line: int) -> Iterator[Spot]:
    if any(word in text for word in _WATCHED):
        yield Spot("test-detection", line, text[:60])
    elif text.split(".")[0] in ("pytest", "_pytest", "pluggy"):
        yield _framework(text[:60], line)
    elif text in _COMPARISONS:
        yield Spot("always-equal", line, f"{text} by name")


def _is_framework(module: str) -> bool:
    return module.split(".")[0] in FRAMEWORKS


def _framework(module: str, line: int) -> Spot:
    return Spot("test-framework-in-product", line, module)


def _at_import(body: list[ast.stmt]) -> Iterator[Spot]:
    """Exits that happen as soon as the module is imported."""
    frontier: list[ast.AST] = list(body)
    while frontier:
        node = frontier.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_main(node):
            continue
        called = node.func if isinstance(node, ast.Call) else None
        raised = node.exc if isinstance(node, ast.Raise) else None
        ending = called or raised
        name = ast.unparse(ending) if ending is not None else ""
        if name.split("(")[0] in _TOP_EXITS:
            yield Spot("exit-in-product", getattr(node, "lineno", 1), f"{name} while importing")
        frontier.extend(ast.iter_child_nodes(node))


def _is_main(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _always(node: ast.FunctionDef) -> bool:
    """Whether a comparison never looks at both of its sides."""
    inside = [n for statement in node.body for n in ast.walk(statement)]
    returned = [n.value for n in inside if isinstance(n, ast.Return) and n.value is not None]
    if not returned:
        return False
    if all(isinstance(v, ast.Constant) and v.value is True for v in returned):
        return True
    return not _reads_all(node.args, node.body) and not any(
        isinstance(v, ast.Name) and v.id == "NotImplemented" for v in returned
    )


def _reads_all(arguments: ast.arguments, body: list[ast.stmt] | list[ast.expr]) -> bool:
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    read = {n.id for part in body for n in ast.walk(part) if isinstance(n, ast.Name)}
    return len(names) >= 2 and set(names[1:2]) <= read
