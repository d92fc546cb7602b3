"""One name for another: variables, functions, assignment targets, whole expressions by a name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import BUILTINS, Site

PRIOR_MAX = 1.0
_FADE = 0.15
_RIVALS_MAX = 14


def propose(site: Site) -> Iterator[Edit]:
    """Misspelt names first, then variables, functions, targets and expressions."""
    yield from _misspelt(site)
    found = [
        *_variables(site),
        *_functions(site),
        *_targets(site),
        *_expressions(site),
    ]
    yield from sorted(found, key=lambda edit: -edit.prior)


def _misspelt(site: Site) -> Iterator[Edit]:
    for fault in site.faults:
        for node in site.of(ast.Name):
            if node.id == fault.missing and fault.type in ("NameError", "UnboundLocalError"):
                rivals = [*fault.close, *rank_similar(node.id, [*site.local_names, *BUILTINS])]
                for place, name in enumerate(dict.fromkeys(rivals)):
                    prior = max(1.0 - 0.1 * place, 0.2)
                    yield site.replace(node, name, rule="misspelt name", prior=prior)


def rank_similar(name: str, others: Sequence[str]) -> list[str]:
    """The other names, most alike first."""
    pool = [other for other in dict.fromkeys(others) if other != name]
    return sorted(pool, key=lambda other: -likeness(name, other))[:_RIVALS_MAX]


@lru_cache(maxsize=1 << 16)
def likeness(one: str, other: str) -> float:
    """How alike two texts are, from 0 to 1."""
    return SequenceMatcher(None, one, other).ratio()


def _readable_locals(site: Site) -> list[str]:
    return [name for name in site.local_names if name in site.before]


def _variables(site: Site) -> Iterator[Edit]:
    pool = _readable_locals(site)
    known = {*site.local_names}
    for node in site.of(ast.Name):
        is_callee = getattr(site.source.parent(node), "func", None) is node
        if node.id not in known and (is_callee or node.id in BUILTINS):
            continue
        base = 0.6 if node.id in known else 0.3
        for place, name in enumerate(rank_similar(node.id, pool)):
            prior = base / (1 + _FADE * place)
            yield site.replace(node, name, rule="name to name", prior=prior)


def _functions(site: Site) -> Iterator[Edit]:
    for node in site.of(ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in site.global_names:
            continue
        for name in rank_similar(node.func.id, site.global_names)[:6]:
            prior = max(0.45 * likeness(node.func.id, name), 0.05)
            yield site.replace(node.func, name, rule="function name", prior=prior)


def _targets(site: Site) -> Iterator[Edit]:
    """Another place to assign to: a name, or a subscript or attribute seen in the function."""
    match site.statement:
        case ast.Assign(targets=[target]) | ast.AugAssign(target=target):
            pass
        case _:
            return
    if isinstance(target, ast.Name):
        for place, name in enumerate(rank_similar(target.id, _readable_locals(site))):
            prior = 0.3 / (1 + _FADE * place)
            yield site.replace(target, name, rule="other target", prior=prior)
    if site.function is None or not isinstance(target, ast.Name | ast.Subscript | ast.Attribute):
        return
    own = site.text_of(target)
    donors: dict[str, None] = {}
    for node in site.source.nodes_in(site.function):
        if isinstance(node, ast.Subscript | ast.Attribute):
            donors.setdefault(site.text_of(node))
    alike = [donor for donor in donors if donor != own and "\n" not in donor]
    for place, donor in enumerate(rank_similar(own, alike)):
        prior = 0.25 / (1 + _FADE * place)
        yield site.replace(target, donor, rule="other target", prior=prior)


def _expressions(site: Site) -> Iterator[Edit]:
    """A call, subscript, attribute or sum that should be a plain variable."""
    pool = _readable_locals(site)
    for node in site.expressions:
        if not isinstance(node, ast.Call | ast.Subscript | ast.Attribute | ast.BinOp):
            continue
        if getattr(site.source.parent(node), "func", None) is node or _size(node) > 12:
            continue
        inside = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        ordered = [name for name in pool if name not in inside] + [n for n in pool if n in inside]
        for place, name in enumerate(ordered[:_RIVALS_MAX]):
            prior = 0.22 / (1 + _FADE * place)
            lost = isinstance(node, ast.Call)
            yield site.replace(node, name, rule="expression to name", prior=prior, removal=lost)


def _size(node: ast.AST) -> int:
    return sum(isinstance(inner, ast.expr) for inner in ast.walk(node))
