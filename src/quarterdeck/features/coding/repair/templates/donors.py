"""Donors from the same file: statements with one name replaced, and expressions of like kind."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.names import rank_similar
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.25
_STATEMENTS_MAX = 12
_VARIANTS_MAX = 6
_EXPRESSIONS_MAX = 10
_SIMPLE = ast.Expr | ast.Assign | ast.AugAssign | ast.Return
_KINDS = ast.Subscript | ast.Call | ast.Attribute | ast.BinOp | ast.Compare


def propose(site: Site) -> Iterator[Edit]:
    """Expressions of the function first, then its statements before and after this one."""
    if site.function is None:
        return
    yield from _expressions(site)
    yield from _statements(site)


def _expressions(site: Site) -> Iterator[Edit]:
    assert site.function is not None
    # Keyed by tree, since the same expression may be written with other spaces.
    pool: dict[type[ast.expr], dict[str, str]] = {}
    for node in site.source.nodes_in(site.function):
        if isinstance(node, _KINDS) and not isinstance(getattr(node, "ctx", None), ast.Store):
            pool.setdefault(type(node), {}).setdefault(ast.dump(node), site.text_of(node))
    for node in site.expressions:
        if getattr(site.source.parent(node), "func", None) is node:
            continue
        own = ast.dump(node)
        others = pool.get(type(node), {}).items()
        donors = [text for key, text in others if key != own and "\n" not in text]
        for place, text in enumerate(rank_similar(site.text_of(node), donors)[:_EXPRESSIONS_MAX]):
            fitted = f"({text})" if isinstance(node, ast.BinOp | ast.Compare) else text
            prior = 0.2 / (1 + 0.15 * place)
            yield site.replace(node, fitted, rule="donor expression", prior=prior)


def _statements(site: Site) -> Iterator[Edit]:
    """Simple statements of the function, as they are and with one name replaced, put here."""
    if not site.stands_alone:
        return
    for text in _of_siblings(site):
        yield from _inserted(site, text, 0.2)
    for text in _donor_texts(site):
        for place, variant in enumerate([text, *_variants(site, text)]):
            yield from _inserted(site, variant, 0.12 / (1 + 0.2 * place))


def _inserted(site: Site, text: str, prior: float) -> Iterator[Edit]:
    yield site.insert_before([text], rule="donor statement", prior=prior)
    if not hasattr(site.statement, "body"):
        _, end = site.source.span(site.statement)
        after = f"\n{site.indent}{text}"
        yield site.splice(end, end, after, rule="donor statement", prior=prior)


def _of_siblings(site: Site) -> list[str]:
    """Statements that other methods of the class repeat, such as checks on entry."""
    owner = site.source.class_of(site.statement)
    if owner is None:
        return []
    counts = Counter(
        text
        for node in site.source.nodes_in(owner)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and "\n" not in (text := site.text_of(node))
    )
    own = {site.text_of(node) for node in site.source.block_of(site.statement)}
    return [text for text, count in counts.most_common(8) if count > 1 and text not in own][:4]


def _donor_texts(site: Site) -> list[str]:
    assert site.function is not None
    found: dict[str, None] = {}
    near = sorted(
        (node for node in site.source.nodes_in(site.function) if isinstance(node, _SIMPLE)),
        key=lambda node: abs(node.lineno - site.statement.lineno),
    )
    for node in near:
        text = site.text_of(node)
        if "\n" not in text and not text.startswith(("'", '"')):
            found.setdefault(text)
    return list(found)[:_STATEMENTS_MAX]


def _variants(site: Site, text: str) -> Iterator[str]:
    """The statement with one of its names replaced by another local name."""
    names = [name for name in dict.fromkeys(re.findall(r"\b[A-Za-z_]\w*\b", text))]
    mine = [name for name in names if name in site.local_names]
    for name in mine:
        for other in rank_similar(name, site.local_names)[:_VARIANTS_MAX]:
            yield re.sub(rf"\b{name}\b", other, text, count=1)
