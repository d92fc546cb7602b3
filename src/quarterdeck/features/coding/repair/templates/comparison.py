"""Comparison operators: bounds, negations, identity, membership."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site, operator_span

PRIOR_MAX = 1.0
SYMBOLS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
_RIVALS: dict[str, tuple[tuple[str, float], ...]] = {
    "<": (("<=", 1.0), (">", 0.7), (">=", 0.6), ("!=", 0.3)),
    "<=": (("<", 1.0), (">=", 0.7), (">", 0.6), ("==", 0.3)),
    ">": ((">=", 1.0), ("<", 0.7), ("<=", 0.6), ("!=", 0.3)),
    ">=": ((">", 1.0), ("<=", 0.7), ("<", 0.6), ("==", 0.3)),
    "==": (("!=", 0.8), ("<=", 0.5), (">=", 0.5), ("in", 0.35), ("is", 0.2), ("<", 0.2), (">", 0.2)),
    "!=": (("==", 0.8), ("<", 0.4), (">", 0.4), ("not in", 0.35), ("is not", 0.3)),
    "is": (("is not", 0.8), ("==", 0.6)),
    "is not": (("is", 0.8), ("!=", 0.6)),
    "in": (("not in", 0.8), ("==", 0.4)),
    "not in": (("in", 0.8), ("!=", 0.4)),
}  # fmt: skip


def propose(site: Site) -> Iterator[Edit]:
    """Each comparison with each rival operator, likeliest first."""
    found: list[Edit] = []
    for node in site.of(ast.Compare):
        operands = [node.left, *node.comparators]
        for left, op, right in zip(operands, node.ops, operands[1:], strict=False):
            symbol = SYMBOLS[type(op)]
            span = operator_span(site.source, left, right, symbol)
            for rival, prior in _RIVALS[symbol] if span else ():
                assert span is not None
                rule = f"{symbol} to {rival}"
                found.append(site.splice(*span, rival, rule=rule, prior=prior))
    yield from sorted(found, key=lambda edit: -edit.prior)
