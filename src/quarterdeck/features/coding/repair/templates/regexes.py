"""Regular expressions: quantifiers, anchors, flags, greediness."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.3
_LENGTH_MAX = 300
_LOOKS_LIKE = re.compile(r"\\[dwsbDWSB.]|\[[^\]]+\]|[)\]\w][+*?]|\(\?|^\^|\$$")
_SIGNS = re.compile(r"(?<!\\)[+*?]")


def propose(site: Site) -> Iterator[Edit]:
    """Every literal that looks like a pattern, changed at one sign."""
    for node in site.of(ast.Constant):
        if isinstance(node.value, str) and _is_pattern(site, node, node.value):
            written = site.text_of(node)
            for text, prior in _variants(written):
                yield site.replace(node, text, rule="pattern", prior=prior)


def _is_pattern(site: Site, node: ast.Constant, value: str) -> bool:
    simple = len(value) <= _LENGTH_MAX and "\n" not in site.text_of(node)
    called = isinstance(parent := site.source.parent(node), ast.Call) and site.text_of(
        parent.func
    ).startswith("re.")
    return simple and (called or bool(_LOOKS_LIKE.search(value)))


def _variants(written: str) -> Iterator[tuple[str, float]]:
    """Variants of the literal as written, with its prefix and quotes."""
    for sign in _SIGNS.finditer(written):
        for other in "+*?":
            if other != sign.group():
                yield written[: sign.start()] + other + written[sign.end() :], 0.3
        yield written[: sign.end()] + "?" + written[sign.end() :], 0.15
        yield written[: sign.start()] + written[sign.end() :], 0.2
    head = re.match(r"[A-Za-z]*(\"\"\"|'''|\"|')", written)
    assert head is not None, "a string literal begins with its quotes"
    start, quote = head.end(), head.group(1)
    inner = written[start : len(written) - len(quote)]
    yield written[:start] + "^" + inner + quote, 0.15
    yield written[:start] + inner + "$" + quote, 0.15
    for old, new in ((r"\d", r"\w"), (r"\w", r"\d"), ("^", ""), ("$", ""), (r"\s", " ")):
        if old in inner:
            yield written[:start] + inner.replace(old, new, 1) + quote, 0.12
