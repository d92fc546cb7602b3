"""Off by one: `e + 1` and `e - 1` on indices, bounds and arguments, and dropping such a step."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.7


def propose(site: Site) -> Iterator[Edit]:
    """Steps of one where numbers are likely, likeliest places first."""
    places = [(node, prior) for node in site.expressions if (prior := _prior(site, node))]
    for node, prior in sorted(places, key=lambda place: -place[1]):
        if isinstance(node, ast.BinOp):
            if _is_step(node):
                yield site.replace(node, site.text_of(node.left), rule="drop step", prior=prior)
            else:
                yield from _step(site, node, prior * 0.7)
        else:
            yield from _step(site, node, prior)


def _step(site: Site, node: ast.expr, prior: float) -> Iterator[Edit]:
    for sign in ("-", "+"):
        text = site.fitted(node, f"{site.operand(node)} {sign} 1")
        yield site.replace(node, text, rule=f"e {sign} 1", prior=prior)


def _is_step(node: ast.BinOp) -> bool:
    step = isinstance(node.right, ast.Constant) and node.right.value == 1
    return step and isinstance(node.op, ast.Add | ast.Sub)


def _prior(site: Site, node: ast.expr) -> float:
    """How likely this expression is a count that is one off; 0 where it cannot be a number."""
    numeric = isinstance(node, ast.Name | ast.BinOp | ast.Attribute | ast.Subscript) or (
        isinstance(node, ast.Call) and getattr(node.func, "id", "") in _COUNTING
    )
    if not numeric:
        return 0.0
    match site.source.parent(node):
        case ast.Slice():
            return 0.7
        case ast.Subscript(slice=index) if index is node:
            return 0.6
        case ast.Call(func=ast.Name(id="range"), args=args) if node in args:
            return 0.7
        case ast.Call(args=args) if node in args:
            return 0.4
        case ast.Compare():
            return 0.45
        case ast.Return() | ast.Assign() | ast.AugAssign() | ast.BinOp():
            return 0.3
        case _:
            return 0.0


_COUNTING = frozenset({"len", "int", "sum", "max", "min", "abs", "round", "ord"})
