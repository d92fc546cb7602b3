"""Returned values: other values, wrapped values, a missing return."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.5


def propose(site: Site) -> Iterator[Edit]:
    """For a return its rival values; for another statement a `return` in front or after."""
    statement = site.statement
    if isinstance(statement, ast.Return):
        yield from _values(site, statement)
    elif isinstance(statement, ast.Expr) and site.function is not None:
        if not isinstance(statement.value, ast.Yield | ast.YieldFrom):
            begin, _ = site.source.span(statement)
            yield site.splice(begin, begin, "return ", rule="missing return", prior=0.5)
        elif isinstance(statement.value, ast.Yield) and statement.value.value is not None:
            text = f"yield from {site.text_of(statement.value.value)}"
            yield site.replace(statement, text, rule="yield from", prior=0.4)
        elif isinstance(statement.value, ast.YieldFrom):
            text = f"yield {site.text_of(statement.value.value)}"
            yield site.replace(statement, text, rule="yield", prior=0.3)
    if site.function is not None and not isinstance(statement, ast.Return) and site.stands_alone:
        yield from _added_after(site)


def _values(site: Site, statement: ast.Return) -> Iterator[Edit]:
    old = site.text_of(statement.value) if statement.value is not None else ""
    names = [name for name in site.local_names if name in site.before and name != "self"]
    for place, name in enumerate(name for name in names if name != old):
        prior = 0.25 / (1 + 0.1 * place)
        lost = isinstance(statement.value, ast.Call)
        text = f"return {name}"
        yield site.replace(statement, text, rule="return name", prior=prior, removal=lost)
    if old:
        for text, prior in ((f"[{old}]", 0.2), (f"({old},)", 0.05), (f"not ({old})", 0.15)):
            yield site.replace(statement, f"return {text}", rule="wrap value", prior=prior)
        for name in names[:6]:
            yield site.replace(statement, f"return [{name}]", rule="list of name", prior=0.1)
            yield site.replace(statement, f"return {old}, {name}", rule="add value", prior=0.06)
    for value in ("None", "True", "False", "[]", "{}", "0", "1", '""'):
        if value != old:
            text = f"return {value}"
            yield site.replace(statement, text, rule="constant", prior=0.12, removal=True)


def _added_after(site: Site) -> Iterator[Edit]:
    """A return at the end of a block that lacks one."""
    block = site.source.block_of(site.statement)
    if block[-1] is not site.statement or hasattr(site.statement, "body"):
        return
    _, end = site.source.span(site.statement)
    names = [name for name in site.local_names if name in site.before and name != "self"]
    for name in [*names[:5], "None"]:
        text = f"\n{site.indent}return {name}"
        yield site.splice(end, end, text, rule="add return", prior=0.12)
    if site.in_loop:
        for word in ("break", "continue"):
            text = f"\n{site.indent}{word}"
            yield site.splice(end, end, text, rule=f"add {word}", prior=0.12)
