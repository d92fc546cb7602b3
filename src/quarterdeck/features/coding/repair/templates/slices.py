"""Slices: bounds, added slices, dropped slices, steps."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.4
_ADDED = ("[1:]", "[:-1]", "[::-1]", "[0]", "[-1]", "[1]")


def propose(site: Site) -> Iterator[Edit]:
    """Changed bounds of existing slices first, then new slices."""
    for node in site.of(ast.Subscript):
        if isinstance(node.slice, ast.Slice):
            yield from _bounds(site, node, node.slice)
    for node in site.expressions:
        if _may_be_sequence(site, node):
            for suffix in _ADDED:
                text = site.operand(node) + suffix
                yield site.replace(node, text, rule=f"add {suffix}", prior=0.12)
            for name in _index_names(site):
                text = f"{site.operand(node)}[{name}:]"
                yield site.replace(node, text, rule="add slice from name", prior=0.08)


def _bounds(site: Site, node: ast.Subscript, piece: ast.Slice) -> Iterator[Edit]:
    lower, upper, step = (
        site.text_of(bound) if bound is not None else ""
        for bound in (piece.lower, piece.upper, piece.step)
    )
    tail = f":{step}" if step else ""
    options = [
        (f"{upper}:{lower}{tail}", 0.25, "exchange bounds"),
        (f"{lower}:{tail}", 0.25, "drop upper bound"),
        (f":{upper}{tail}", 0.25, "drop lower bound"),
        (f"{lower}:{upper}" if step else f"{lower}:{upper}:-1", 0.15, "step"),
    ]
    if not lower:
        options += [(f"1:{upper}{tail}", 0.35, "lower bound 1")]
    if not upper:
        options += [(f"{lower}:-1{tail}", 0.3, "upper bound -1")]
    elif upper.startswith("-"):
        options += [(f"{lower}:{upper[1:]}{tail}", 0.3, "negate upper bound")]
    else:
        options += [(f"{lower}:-({upper}){tail}", 0.2, "negate upper bound")]
    old = f"{lower}:{upper}{tail}"
    head = site.operand(node.value)
    for text, prior, rule in options:
        if text != old:
            yield site.replace(node, f"{head}[{text}]", rule=rule, prior=prior)
    lost = site.text_of(node.value)
    yield site.replace(node, lost, rule="drop slice", prior=0.2, removal=True)


def _may_be_sequence(site: Site, node: ast.expr) -> bool:
    parent = site.source.parent(node)
    if isinstance(parent, ast.Attribute) or getattr(parent, "func", None) is node:
        return False
    if isinstance(node, ast.Name):
        return node.id in site.local_names
    return isinstance(node, ast.Attribute | ast.Call | ast.Subscript)


def _index_names(site: Site) -> list[str]:
    return [name for name in site.local_names if len(name) == 1 and name in site.before][:3]
