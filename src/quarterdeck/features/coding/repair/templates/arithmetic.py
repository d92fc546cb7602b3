"""Arithmetic and bit operators, also in augmented assignments; dropped operands; signs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site, operator_span

PRIOR_MAX = 0.7
_SYMBOLS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<",
    ast.RShift: ">>", ast.MatMult: "@",
}  # fmt: skip
_RIVALS: dict[str, tuple[str, ...]] = {
    "+": ("-", "*"), "-": ("+", "*", "//"), "*": ("+", "/", "//", "**"), "/": ("//", "*", "%"),
    "//": ("/", "%", "*"), "%": ("//", "/", "*"), "**": ("*",), "&": ("|", "^"),
    "|": ("&", "^"), "^": ("&", "|"), "<<": (">>",), ">>": ("<<",), "@": (),
}  # fmt: skip


def propose(site: Site) -> Iterator[Edit]:
    """Rival operators, then operands dropped, then signs changed."""
    operations = list(site.of(ast.BinOp))
    for place in range(4):
        for node in operations:
            yield from _rival(site, node, place)
    yield from _augmented(site)
    for node in operations:
        yield from _dropped(site, node)
    yield from _signs(site)


def _dropped(site: Site, node: ast.BinOp) -> Iterator[Edit]:
    if not _is_formatting(node):
        for kept in (node.left, node.right):
            text = site.fitted(node, site.text_of(kept))
            yield site.replace(node, text, rule="drop operand", prior=0.25, removal=True)


def _signs(site: Site) -> Iterator[Edit]:
    for node in site.of(ast.UnaryOp):
        if isinstance(node.op, ast.USub | ast.UAdd | ast.Invert):
            text = site.text_of(node.operand)
            yield site.replace(node, text, rule="drop sign", prior=0.4)
    for node in site.of(ast.Name):
        parent = site.source.parent(node)
        countable = isinstance(parent, ast.Return | ast.BinOp | ast.Call | ast.Slice)
        if countable and getattr(parent, "func", None) is not node:
            text = site.fitted(node, f"-{node.id}")
            yield site.replace(node, text, rule="negate", prior=0.12)


def _rival(site: Site, node: ast.BinOp, place: int) -> Iterator[Edit]:
    symbol = _SYMBOLS[type(node.op)]
    rivals = _RIVALS[symbol]
    span = operator_span(site.source, node.left, node.right, symbol)
    if place < len(rivals) and span is not None and not _is_formatting(node):
        prior = (0.7, 0.4, 0.3, 0.2)[place]
        rule = f"{symbol} to {rivals[place]}"
        yield site.splice(*span, rivals[place], rule=rule, prior=prior)


def _is_formatting(node: ast.BinOp) -> bool:
    text = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
    return text and isinstance(node.op, ast.Mod)


def _augmented(site: Site) -> Iterator[Edit]:
    statement = site.statement
    if not isinstance(statement, ast.AugAssign):
        return
    symbol = _SYMBOLS[type(statement.op)]
    span = operator_span(site.source, statement.target, statement.value, f"{symbol}=")
    if span is None:
        return
    for place, rival in enumerate(_RIVALS[symbol]):
        prior = 0.7 / (1 + place)
        yield site.splice(*span, f"{rival}=", rule=f"{symbol}= to {rival}=", prior=prior)
    yield site.splice(*span, "=", rule=f"{symbol}= to =", prior=0.35)
