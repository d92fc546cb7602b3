"""Exceptions: caught where they arise, caught more widely, or raised as another kind."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.names import rank_similar
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.5
_COMMON = ("ValueError", "TypeError", "KeyError", "IndexError", "AttributeError")


def propose(site: Site) -> Iterator[Edit]:
    """Wider handlers and other exceptions first; new handlers only for what really was raised."""
    yield from _other_exception(site)
    yield from _wider(site)
    if site.function is not None and site.stands_alone:
        yield from _caught(site)


def _raised(site: Site) -> list[str]:
    kinds = [fault.type for fault in site.faults if fault.frames]
    return [
        kind for kind in dict.fromkeys(kinds) if isinstance(getattr(builtins, kind, None), type)
    ]


def _known_exceptions(site: Site) -> list[str]:
    classes = [node.name for node in site.source.tree.body if isinstance(node, ast.ClassDef)]
    imported = [name for name in site.global_names if name.endswith(("Error", "Exception"))]
    own = [name for name in [*classes, *imported] if name.endswith(("Error", "Exception"))]
    return [*dict.fromkeys([*own, *_COMMON])]


def _other_exception(site: Site) -> Iterator[Edit]:
    if not isinstance(site.statement, ast.Raise):
        return
    for node in site.of(ast.Name):
        if node.id.endswith(("Error", "Exception")):
            for place, name in enumerate(rank_similar(node.id, _known_exceptions(site))):
                prior = 0.5 / (1 + 0.15 * place)
                yield site.replace(node, name, rule="other exception", prior=prior)


def _wider(site: Site) -> Iterator[Edit]:
    if not isinstance(site.statement, ast.Try):
        return
    for handler in site.statement.handlers:
        if handler.type is None:
            continue
        types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        own = [site.text_of(kind) for kind in types]
        for place, extra in enumerate([*_raised(site), *_COMMON]):
            if extra not in own:
                text = f"({', '.join([*own, extra])})"
                prior = 0.5 if place < len(_raised(site)) else 0.12
                yield site.replace(handler.type, text, rule="catch more", prior=prior)
                yield site.replace(handler.type, extra, rule="catch other", prior=prior * 0.6)


def _caught(site: Site) -> Iterator[Edit]:
    if hasattr(site.statement, "body") or isinstance(site.statement, ast.Raise):
        return
    body = site.text.replace("\n", "\n    ")
    pad = site.indent
    leaves = ["return None", "pass", "return False", "return 0"]
    leaves = ["continue", *leaves] if site.in_loop else leaves
    for kind in _raised(site):
        for place, leave in enumerate(leaves):
            text = f"try:\n{pad}    {body}\n{pad}except {kind}:\n{pad}    {leave}"
            prior = 0.15 / (1 + 0.2 * place)
            yield site.replace(site.statement, text, rule="catch", prior=prior, removal=True)
