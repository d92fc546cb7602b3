"""Constants: numbers by one, flags, and constants seen elsewhere in the file or the tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.names import likeness
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.8
_DONORS_MAX = 16
_POOL_MAX = 120


def propose(site: Site) -> Iterator[Edit]:
    """Near values first, then donors."""
    constants = list(site.of(ast.Constant))
    for node in constants:
        yield from _near(site, node)
    for node in constants:
        yield from _donors(site, node)


def _near(site: Site, node: ast.Constant) -> Iterator[Edit]:
    match node.value:
        case bool(flag):
            yield site.replace(node, str(not flag), rule="flip flag", prior=0.8)
            yield site.replace(node, "None", rule="flag to None", prior=0.2)
        case int(number):
            yield from _near_numbers(site, node, number)
        case float(number):
            for value in (number * 10, number / 10, number + 1, number * 2, number / 2):
                yield site.replace(node, repr(value), rule="near number", prior=0.3)
        case str(text):
            yield from _near_texts(site, node, text)
        case None:
            options = (("True", 0.25), ("False", 0.25), ("0", 0.15), ('""', 0.15), ("[]", 0.15))
            for written, prior in options:
                yield site.replace(node, written, rule="not None", prior=prior)
        case _:
            pass


def _near_numbers(site: Site, node: ast.Constant, number: int) -> Iterator[Edit]:
    negated = isinstance(site.source.parent(node), ast.UnaryOp)
    options = {number + 1: 0.7, number - 1: 0.7}
    options |= {n: 0.4 for n in (0, 1, 2) if n not in options and n != number}
    options |= {n: 0.2 for n in (number * 10, number // 10) if n not in options and n != number}
    for value, prior in options.items():
        if value >= 0 or not negated:
            text = str(value) if value >= 0 else site.fitted(node, str(value))
            yield site.replace(node, text, rule="near number", prior=prior)
    if number and not negated:
        yield site.replace(node, site.fitted(node, f"-{number}"), rule="negate number", prior=0.4)


def _near_texts(site: Site, node: ast.Constant, text: str) -> Iterator[Edit]:
    variants = [text.strip(), text + " ", " " + text, text.lower(), text.upper(), text[:-1], ""]
    variants += [" ", text.swapcase()]
    for variant in dict.fromkeys(variants):
        if variant != text and len(text) < 200:
            yield site.replace(node, quoted(site, node, variant), rule="near text", prior=0.18)


def quoted(site: Site, node: ast.Constant, value: str) -> str:
    """`value` as a literal with the quotes the old one had."""
    written = repr(value)
    double = site.text_of(node).rstrip().endswith('"')
    if double and '"' not in value and "\\" not in written:
        return f'"{value}"'
    return written


def _donors(site: Site, node: ast.Constant) -> Iterator[Edit]:
    """Constants of the same type: what the failing tests mention, then the file's own."""
    kind = type(node.value)
    if kind not in (int, float, str):
        return
    wanted = [value for value in site.wanted if type(value) is kind]
    own = site.vocabulary.constants(kind)
    pool = [value for value in dict.fromkeys([*wanted, *own]) if value != node.value]
    if isinstance(node.value, str):
        text = node.value
        pool = [value for value in pool if len(str(value)) <= max(60, 2 * len(text))]
        pool = sorted(pool[:_POOL_MAX], key=lambda value: -likeness(text, str(value)))
    for place, value in enumerate(pool[:_DONORS_MAX]):
        written = quoted(site, node, value) if isinstance(value, str) else repr(value)
        prior = (0.3 if value in wanted else 0.2) / (1 + 0.1 * place)
        yield site.replace(node, written, rule="donor constant", prior=prior)
