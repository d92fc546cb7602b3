"""Exchanging two neighbours: arguments, operands, tuple elements, branches of a conditional."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import combinations

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.6
_ARGUMENTS_MAX = 5
_NOT_COMMUTATIVE = ast.Sub | ast.Div | ast.FloorDiv | ast.Mod | ast.Pow | ast.LShift | ast.RShift


def propose(site: Site) -> Iterator[Edit]:
    """Arguments first, then operands, tuples, conditionals, and exchanged keyword values."""
    for node in site.of(ast.Call):
        arguments = [arg for arg in node.args if not isinstance(arg, ast.Starred)]
        for one, other in combinations(arguments[:_ARGUMENTS_MAX], 2):
            prior = 0.6 if arguments.index(other) - arguments.index(one) == 1 else 0.4
            yield from _exchange(site, one, other, "swap arguments", prior)
        for first, second in combinations(node.keywords[:_ARGUMENTS_MAX], 2):
            yield from _exchange(site, first.value, second.value, "swap keyword values", 0.3)
    for node in site.expressions:
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                prior = 0.45 if isinstance(op, _NOT_COMMUTATIVE) else 0.15
                yield from _exchange(site, left, right, "swap operands", prior)
            case ast.Tuple(elts=[one, other]) | ast.List(elts=[one, other]):
                yield from _exchange(site, one, other, "swap elements", 0.4)
            case ast.IfExp(body=body, orelse=orelse):
                yield from _exchange(site, body, orelse, "swap branches", 0.4)
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[right]):
                yield from _exchange(site, left, right, "swap operands", 0.3)
            case _:
                pass


def _exchange(
    site: Site, one: ast.expr, other: ast.expr, rule: str, prior: float
) -> Iterator[Edit]:
    start, middle = site.source.span(one)
    resume, end = site.source.span(other)
    first, second = site.text_of(one), site.text_of(other)
    if first == second:
        return
    if isinstance(site.source.parent(one), ast.BinOp):
        first, second = site.operand(one), site.operand(other)
    between = site.source.text[middle:resume]
    yield site.splice(start, end, f"{second}{between}{first}", rule=rule, prior=prior)
