"""Functions and methods that are easily taken for each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.5
_GROUPS = (
    ("append", "extend", "insert", "appendleft", "extendleft"), ("add", "update", "append"),
    ("any", "all"), ("min", "max"), ("keys", "values", "items"), ("pop", "popleft", "popitem"),
    ("lstrip", "rstrip", "strip"), ("removeprefix", "removesuffix", "lstrip", "rstrip"),
    ("startswith", "endswith"), ("split", "rsplit", "splitlines", "partition"),
    ("partition", "rpartition"), ("find", "rfind", "index", "rindex"), ("upper", "lower"),
    ("title", "capitalize", "upper"), ("casefold", "lower"), ("ljust", "rjust", "center"),
    ("union", "intersection", "difference", "symmetric_difference"), ("floor", "ceil", "trunc"),
    ("issubset", "issuperset", "isdisjoint"), ("int", "float", "round"), ("list", "tuple", "set"),
    ("sorted", "reversed", "list"), ("discard", "remove"), ("get", "pop", "setdefault"),
    ("isdigit", "isdecimal", "isnumeric", "isalpha", "isalnum"), ("isupper", "islower", "istitle"),
    ("match", "fullmatch", "search"), ("heappush", "heappop"), ("bisect_left", "bisect_right"),
    ("bisect", "bisect_left"), ("encode", "decode"), ("str", "repr"), ("hasattr", "getattr"),
    ("isinstance", "issubclass"), ("range", "xrange"), ("findall", "finditer"), ("sub", "subn"),
    ("read", "readline", "readlines"), ("sin", "cos", "tan"), ("add", "remove", "discard"),
    ("chain", "zip"), ("zip", "zip_longest"), ("group", "groups"), ("replace", "strip"),
    ("dump", "dumps"), ("load", "loads"), ("sum", "len", "max"), ("divmod", "pow"),
)  # fmt: skip


def propose(site: Site) -> Iterator[Edit]:
    """Every called name that belongs to a group, replaced by the group's others."""
    for node in site.of(ast.Call):
        callee = node.func
        if isinstance(callee, ast.Attribute):
            for rival, prior in _rivals(callee.attr):
                text = f"{site.text_of(callee.value)}.{rival}"
                rule = f"{callee.attr} to {rival}"
                yield site.replace(callee, text, rule=rule, prior=prior)
        elif isinstance(callee, ast.Name):
            for rival, prior in _rivals(callee.id):
                rule = f"{callee.id} to {rival}"
                yield site.replace(callee, rival, rule=rule, prior=prior)


def _rivals(name: str) -> list[tuple[str, float]]:
    rivals: dict[str, float] = {}
    for group in _GROUPS:
        if name in group:
            others = [other for other in group if other != name]
            for place, other in enumerate(others):
                rivals.setdefault(other, 0.5 / (1 + 0.2 * place))
    return list(rivals.items())
