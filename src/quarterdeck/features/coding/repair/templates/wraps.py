"""Wrapping an expression in a call, adding a method call, adding a term, and unwrapping."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.35
_CONVERSIONS = ("str", "int", "len", "list", "abs", "sorted", "set", "tuple", "float", "bool")
_LIMITS_MAX = 6


def propose(site: Site) -> Iterator[Edit]:
    """Unwrapped calls, then methods and functions the file uses, then limits and terms."""
    yield from _unwrapped(site)
    values = [node for node in site.expressions if _is_value(site, node)]
    for node in values:
        yield from _method_added(site, node)
    for node in values:
        yield from _wrapped(site, node)
    for node in values:
        yield from _limited(site, node)


def _is_value(site: Site, node: ast.expr) -> bool:
    parent = site.source.parent(node)
    if isinstance(parent, ast.Attribute) or getattr(parent, "func", None) is node:
        return False
    if isinstance(node, ast.Starred | ast.Constant | ast.Lambda):
        return False
    return isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.BinOp)


def _unwrapped(site: Site) -> Iterator[Edit]:
    for node in site.of(ast.Call):
        if node.args and not isinstance(node.args[0], ast.Starred | ast.GeneratorExp):
            text = site.fitted(node, site.text_of(node.args[0]))
            yield site.replace(node, text, rule="unwrap call", prior=0.3, removal=True)
        if isinstance(node.func, ast.Attribute):
            text = site.text_of(node.func.value)
            yield site.replace(node, text, rule="drop method", prior=0.3, removal=True)


def _method_added(site: Site, node: ast.expr) -> Iterator[Edit]:
    for place, method in enumerate(_methods(site)[:10]):
        text = f"{site.operand(node)}.{method}()"
        yield site.replace(node, text, rule="add method", prior=0.2 / (1 + 0.1 * place))


def _methods(site: Site) -> list[str]:
    """Methods called without arguments in this file, then the everyday ones."""
    seen = site.vocabulary.plain_methods
    return [*seen, *(name for name in ("strip", "lower", "copy", "upper") if name not in seen)]


def _wrapped(site: Site, node: ast.expr) -> Iterator[Edit]:
    text = site.text_of(node)
    wrappers = [*site.vocabulary.wrappers[:8], *_CONVERSIONS]
    for place, wrapper in enumerate(dict.fromkeys(wrappers)):
        if not text.startswith(f"{wrapper}("):
            prior = 0.2 / (1 + 0.1 * place)
            yield site.replace(node, f"{wrapper}({text})", rule="wrap in call", prior=prior)


def _limited(site: Site, node: ast.expr) -> Iterator[Edit]:
    text = site.text_of(node)
    inside = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    names = [name for name in site.local_names if name in site.before and name not in inside]
    for name in ["0", "1", *names[:_LIMITS_MAX]]:
        for limit in ("max", "min"):
            prior = 0.12 if name.isdigit() else 0.14
            yield site.replace(node, f"{limit}({name}, {text})", rule=f"{limit} wrap", prior=prior)
    for name in names[:_LIMITS_MAX]:
        for sign in ("+", "-"):
            sum_ = site.fitted(node, f"{site.operand(node)} {sign} {name}")
            yield site.replace(node, sum_, rule="add term", prior=0.14)
