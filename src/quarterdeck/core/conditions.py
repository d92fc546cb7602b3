"""Conditions: a small, total expression language over the outputs of earlier steps (DAG-4).

An expression is parsed with `ast` and only what is listed in `_ALLOWED` may appear: names, attributes
and subscripts of outputs, comparisons, `and`/`or`/`not`, `in`, `+ - * / %`, literals, and the calls
`len`, `lower`, `min`, `max`, `abs`. There are no loops and no powers, sizes are bounded, and an
unknown name is an error rather than false.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from quarterdeck.core.errors import InvalidCondition

LENGTH_MAX = 1000
DEPTH_MAX = 32
TEXT_MAX = 65_536

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}


def _lower(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{type(text).__name__} is not text")
    return text.lower()


_CALLS: dict[str, Callable[..., Any]] = {
    "len": len,
    "lower": _lower,
    "min": min,
    "max": max,
    "abs": abs,
}
_WORDS = {"true": True, "false": False, "null": None}
_ALLOWED = (
    ast.Expression,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.UnaryOp,
    ast.Not,
    ast.USub,
    ast.BinOp,
    ast.Compare,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Attribute,
    ast.Subscript,
    ast.Constant,
    ast.List,
    ast.Tuple,
    *_COMPARE,
    *_ARITHMETIC,
)


def names_in(source: str, *, where: str = "condition") -> set[str]:
    """The names of steps that the condition reads.

    Raises:
        InvalidCondition: when the source is not a condition.
    """
    tree = _parsed(source, where)
    calls = (n.func for n in ast.walk(tree) if isinstance(n, ast.Call))
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return names - set(_WORDS) - called


def evaluate(source: str, names: Mapping[str, Any], *, where: str = "condition") -> bool:
    """Whether the condition holds for `names` (step id → outputs).

    Raises:
        InvalidCondition: when it does not parse, names something unknown, or mixes types.
    """
    value = _Evaluation(names, where).value(_parsed(source, where).body)
    if not isinstance(value, bool):
        raise InvalidCondition(
            f"It gives {type(value).__name__}, not true or false.",
            where=where,
            hint="Compare it with something, for example 'score > 80'.",
        )
    return value


@lru_cache(maxsize=1024)
def _parsed(source: str, where: str) -> ast.Expression:
    if len(source) > LENGTH_MAX:
        raise InvalidCondition(
            f"It is {len(source)} characters long; {LENGTH_MAX} is the limit.", where=where
        )
    try:
        tree = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InvalidCondition(f"It does not parse: {reason}.", where=where) from None
    _check(tree.body, where, depth=1)
    return tree


def _check(node: ast.AST, where: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise InvalidCondition(f"It nests deeper than {DEPTH_MAX} levels.", where=where)
    if not isinstance(node, _ALLOWED):
        raise InvalidCondition(f"{type(node).__name__} is not allowed in a condition.", where=where)
    if isinstance(node, ast.Call):
        known = isinstance(node.func, ast.Name) and node.func.id in _CALLS
        if not known or node.keywords:
            raise InvalidCondition(
                "Only these functions may be called: " + ", ".join(sorted(_CALLS)) + ".",
                where=where,
            )
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        raise InvalidCondition(f"{node.attr!r} is private.", where=where)
    if isinstance(node, ast.Constant) and not isinstance(
        node.value, str | int | float | bool | None
    ):
        raise InvalidCondition(f"{node.value!r} is not a literal of JSON.", where=where)
    for child in ast.iter_child_nodes(node):
        _check(child, where, depth + 1)


class _Evaluation:
    """One walk over a checked tree."""

    def __init__(self, names: Mapping[str, Any], where: str) -> None:
        self._names = names
        self._where = where

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self._name(node.id)
            case ast.List() | ast.Tuple():
                return [self.value(item) for item in node.elts]
            case ast.Attribute() | ast.Subscript():
                return self._part(node)
        return self._operation(node)

    def _part(self, node: ast.Attribute | ast.Subscript) -> Any:
        key = node.attr if isinstance(node, ast.Attribute) else self.value(node.slice)
        return self._member(self.value(node.value), key, ast.unparse(node))

    def _operation(self, node: ast.expr) -> Any:
        match node:
            case ast.BoolOp():
                return self._bool_op(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.Compare():
                return self._compare(node)
            case ast.BinOp():
                return self._apply(_ARITHMETIC[type(node.op)], node.left, node.right)
            case ast.Call(func=ast.Name(id=name)):
                return self._apply(_CALLS[name], *node.args)
        raise AssertionError(f"{type(node).__name__} passed the check")

    def _name(self, name: str) -> Any:
        if name in self._names:
            return self._names[name]
        if name in _WORDS:
            return _WORDS[name]
        raise InvalidCondition(
            f"{name!r} is unknown.",
            where=self._where,
            hint=f"Known here: {', '.join(sorted(self._names)) or 'nothing'}.",
        )

    def _member(self, owner: Any, key: Any, shown: str) -> Any:
        if isinstance(owner, Mapping) and key in owner:
            return owner[key]
        if isinstance(owner, list) and isinstance(key, int) and -len(owner) <= key < len(owner):
            return owner[key]
        raise InvalidCondition(f"{shown!r} is unknown.", where=self._where)

    def _truth(self, node: ast.expr) -> bool:
        value = self.value(node)
        if isinstance(value, bool):
            return value
        raise InvalidCondition(
            f"{ast.unparse(node)!r} is {type(value).__name__}, not true or false.",
            where=self._where,
        )

    def _bool_op(self, node: ast.BoolOp) -> bool:
        if isinstance(node.op, ast.And):
            return all(self._truth(part) for part in node.values)
        return any(self._truth(part) for part in node.values)

    def _unary(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            return not self._truth(node.operand)
        return self._apply(operator.neg, node.operand)

    def _compare(self, node: ast.Compare) -> bool:
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            if not self._apply(_COMPARE[type(op)], left, right):
                return False
            left = right
        return True

    def _apply(self, function: Callable[..., Any], *nodes: ast.expr) -> Any:
        values = [self.value(node) for node in nodes]
        if function is operator.mul and not all(isinstance(v, int | float) for v in values):
            raise InvalidCondition("Only numbers can be multiplied.", where=self._where)
        if function is operator.mod and not all(isinstance(v, int | float) for v in values):
            raise InvalidCondition("Only numbers have a remainder.", where=self._where)
        if any(isinstance(v, str) and len(v) > TEXT_MAX for v in values):
            raise InvalidCondition(f"A text is longer than {TEXT_MAX}.", where=self._where)
        if function is operator.add and any(
            isinstance(v, list) and len(v) > TEXT_MAX for v in values
        ):
            raise InvalidCondition(
                f"A list to be added is longer than {TEXT_MAX}.", where=self._where
            )
        try:
            return function(*values)
        except (TypeError, ValueError, ArithmeticError) as error:
            shown = ", ".join(ast.unparse(node) for node in nodes)
            raise InvalidCondition(f"{shown}: {error}.", where=self._where) from None
