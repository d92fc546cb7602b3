"""Attributes and keys: misspelt ones, other ones of the file, added and dropped access."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.names import rank_similar
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 1.0
_RIVALS_MAX = 10


def propose(site: Site) -> Iterator[Edit]:
    """What the fault's own suggestions say first, then attributes seen in the file."""
    yield from _misspelt(site)
    found = [*_rivals(site), *_added(site), *_dropped(site)]
    yield from sorted(found, key=lambda edit: -edit.prior)


def _named(site: Site, node: ast.Attribute, name: str) -> str:
    return f"{site.text_of(node.value)}.{name}"


def _misspelt(site: Site) -> Iterator[Edit]:
    for fault in site.faults:
        for node in site.of(ast.Attribute):
            if node.attr == fault.missing and fault.type == "AttributeError":
                known = [*fault.close, *rank_similar(node.attr, site.vocabulary.attributes)[:4]]
                for place, name in enumerate(dict.fromkeys(known)):
                    prior = max(1.0 - 0.1 * place, 0.2)
                    text = _named(site, node, name)
                    yield site.replace(node, text, rule="misspelt attribute", prior=prior)


def _rivals(site: Site) -> Iterator[Edit]:
    """Other attributes of the same object as this file uses it."""
    for node in site.of(ast.Attribute):
        owner = node.value.id if isinstance(node.value, ast.Name) else None
        near = site.vocabulary.attributes_of(owner) if owner else []
        ranked = rank_similar(node.attr, near)[:_RIVALS_MAX]
        if not near:
            ranked = rank_similar(node.attr, site.vocabulary.attributes)[:4]
        for place, name in enumerate(ranked):
            prior = (0.4 if near else 0.2) / (1 + 0.15 * place)
            text = _named(site, node, name)
            yield site.replace(node, text, rule="other attribute", prior=prior)


def _added(site: Site) -> Iterator[Edit]:
    """`name` to `name.attribute`, and a local name to the instance's attribute."""
    own = set(site.vocabulary.attributes_of("self"))
    for node in site.of(ast.Name):
        parent = site.source.parent(node)
        if isinstance(parent, ast.Attribute) or getattr(parent, "func", None) is node:
            continue
        for place, name in enumerate(site.vocabulary.attributes_of(node.id)[:6]):
            if node.id not in ("self", "cls"):
                prior = 0.2 / (1 + 0.15 * place)
                yield site.replace(node, f"{node.id}.{name}", rule="add attribute", prior=prior)
        if node.id in own:
            text = f"self.{node.id}"
            yield site.replace(node, text, rule="attribute of self", prior=0.4)


def _dropped(site: Site) -> Iterator[Edit]:
    for node in site.of(ast.Attribute):
        is_callee = getattr(site.source.parent(node), "func", None) is node
        if is_callee or not isinstance(node.value, ast.Name | ast.Attribute):
            continue
        if node.attr in site.local_names:
            yield site.replace(node, node.attr, rule="local of that name", prior=0.35)
        if site.text_of(node.value) != "self":
            text = site.text_of(node.value)
            yield site.replace(node, text, rule="drop attribute", prior=0.2)
