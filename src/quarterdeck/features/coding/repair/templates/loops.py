"""Loops and jumps: endless loops bounded, `break`/`continue`/`return` exchanged, `if`/`while`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.4
_NAMES_MAX = 8


def propose(site: Site) -> Iterator[Edit]:
    """Jumps first, then loop heads."""
    statement = site.statement
    if isinstance(statement, ast.Break | ast.Continue | ast.Pass):
        for word in ("break", "continue", "pass", "return"):
            if word != site.text and (site.function or word != "return"):
                yield site.replace(statement, word, rule=f"{site.text} to {word}", prior=0.35)
    if isinstance(statement, ast.While):
        yield from _bounded(site, statement)
    if isinstance(statement, ast.If) and not statement.orelse and site.text.startswith("if"):
        begin, _ = site.source.span(statement)
        yield site.splice(begin, begin + 2, "while", rule="if to while", prior=0.2)
    if isinstance(statement, ast.While) and not statement.orelse:
        begin, _ = site.source.span(statement)
        yield site.splice(begin, begin + 5, "if", rule="while to if", prior=0.12)
    if isinstance(statement, ast.For):
        yield from _other_iteration(site, statement)


def _bounded(site: Site, statement: ast.While) -> Iterator[Edit]:
    names = [name for name in site.local_names if name in site.before][:_NAMES_MAX]
    names += [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)][:_NAMES_MAX]
    if isinstance(statement.test, ast.Constant):
        for name in dict.fromkeys(names):
            yield site.replace(statement.test, name, rule="bound the loop", prior=0.4)


def _other_iteration(site: Site, statement: ast.For) -> Iterator[Edit]:
    text = site.text_of(statement.iter)
    for wrapped, rule in ((f"reversed({text})", "reverse"), (f"sorted({text})", "sort")):
        yield site.replace(statement.iter, wrapped, rule=rule, prior=0.15)
    for name in site.local_names[:_NAMES_MAX]:
        if name in site.before and name != text:
            yield site.replace(statement.iter, name, rule="iterate over name", prior=0.2)
    # A snapshot, where the loop changes what it runs over.
    yield site.replace(statement.iter, f"list({text})", rule="iterate over copy", prior=0.25)
