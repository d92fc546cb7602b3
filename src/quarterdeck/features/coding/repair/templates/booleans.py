"""Conditions: negations, `and`/`or`, dropped operands, added operands."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site, operator_span

PRIOR_MAX = 0.6
_ADDED_MAX = 24


def propose(site: Site) -> Iterator[Edit]:
    """Operators, negations and dropped operands first, then conditions made narrower or wider."""
    for node in site.of(ast.BoolOp):
        yield from _operators(site, node)
    for node in site.of(ast.UnaryOp):
        if isinstance(node.op, ast.Not):
            yield site.replace(node, site.text_of(node.operand), rule="drop not", prior=0.5)
    for node in conditions(site):
        if not _is_not(node):
            text = site.fitted(node, f"not {_negatable(site, node)}")
            yield site.replace(node, _bare(site, node, text), rule="negate", prior=0.4)
    for node in site.of(ast.BoolOp):
        yield from _dropped(site, node)
    for node in conditions(site):
        yield from _extended(site, node)


def conditions(site: Site) -> list[ast.expr]:
    """Expressions whose truth decides: tests, operands of `and`/`or`, filters."""
    found: list[ast.expr] = []
    for node in site.nodes:
        match node:
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                found.append(test)
            case ast.Assert(test=test):
                found.append(test)
            case ast.BoolOp(values=values):
                found.extend(values)
            case ast.comprehension(ifs=ifs):
                found.extend(ifs)
            case ast.Return(value=ast.Compare() | ast.BoolOp() as value):
                found.append(value)
            case _:
                pass
    return list(dict.fromkeys(found))


def _is_not(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def _negatable(site: Site, node: ast.expr) -> str:
    text = site.text_of(node)
    compound = isinstance(node, ast.BoolOp | ast.IfExp | ast.NamedExpr | ast.Lambda)
    return f"({text})" if compound else text


def _bare(site: Site, node: ast.expr, text: str) -> str:
    """Without the parentheses where the place needs none (`if`, `while`, an operand)."""
    parent = site.source.parent(node)
    if isinstance(parent, ast.If | ast.While | ast.BoolOp | ast.Return | ast.Assert):
        return text.removeprefix("(").removesuffix(")") if text.startswith("(not ") else text
    return text


def _operators(site: Site, node: ast.BoolOp) -> Iterator[Edit]:
    symbol, rival = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    if len(node.values) == 2:
        span = operator_span(site.source, node.values[0], node.values[1], symbol)
        if span is not None:
            yield site.splice(*span, rival, rule=f"{symbol} to {rival}", prior=0.6)
        return
    operands = [site.operand(value) for value in node.values]
    text = f" {rival} ".join(operands)
    yield site.replace(node, text, rule=f"{symbol} to {rival}", prior=0.4)


def _dropped(site: Site, node: ast.BoolOp) -> Iterator[Edit]:
    symbol = " and " if isinstance(node.op, ast.And) else " or "
    for dropped in node.values:
        kept = [_kept(site, value) for value in node.values if value is not dropped]
        text = site.fitted(node, symbol.join(kept)) if len(kept) > 1 else kept[0]
        yield site.replace(node, text, rule="drop operand", prior=0.35, removal=True)


def _kept(site: Site, value: ast.expr) -> str:
    text = site.text_of(value)
    return f"({text})" if isinstance(value, ast.BoolOp | ast.IfExp | ast.Lambda) else text


def _extended(site: Site, node: ast.expr) -> Iterator[Edit]:
    own = site.text_of(node)
    base = _negatable(site, node)
    for place, condition in enumerate(candidate_conditions(site, own)[:_ADDED_MAX]):
        prior = 0.16 / (1 + 0.06 * place)
        for word in ("and", "or"):
            text = f"{base} {word} {condition}"
            parent = site.source.parent(node)
            text = f"({text})" if isinstance(parent, ast.BoolOp) else text
            yield site.replace(node, text, rule=f"{word} condition", prior=prior)


def candidate_conditions(site: Site, own: str) -> list[str]:
    """Conditions worth adding: those of this function, then truth and None tests of its names."""
    found: dict[str, None] = {}
    if site.function is not None:
        for node in site.source.nodes_in(site.function):
            if isinstance(node, ast.If | ast.While | ast.IfExp):
                tests = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
                for test in tests:
                    found.setdefault(site.text_of(test))
    used = {node.id for node in site.of(ast.Name)}
    names = [name for name in site.local_names if name in site.before]
    for name in sorted(names, key=lambda name: name not in used):
        found.update(dict.fromkeys((name, f"not {name}", f"{name} is None")))
        found.setdefault(f"{name} is not None")
    return [text for text in found if text not in own and "\n" not in text and len(text) <= 80]
