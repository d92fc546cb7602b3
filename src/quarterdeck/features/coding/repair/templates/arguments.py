"""Arguments of calls: renamed, added and dropped ones, by keyword and by position."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates.names import rank_similar
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 1.0
_NAMES_MAX = 8


def propose(site: Site) -> Iterator[Edit]:
    """Misnamed keywords, then arguments the callee knows, donors, dropped arguments."""
    calls = list(site.of(ast.Call))
    for node in calls:
        yield from _renamed(site, node)
    for node in calls:
        yield from _known_parameters(site, node)
        yield from _donor_arguments(site, node)
    for node in calls:
        yield from _dropped(site, node)
    for node in calls:
        yield from _by_position(site, node)


def _parameters(site: Site, call: ast.Call) -> list[str]:
    """The parameter names of a callee defined in this file; empty when it is not known."""
    name = getattr(call.func, "id", None) or getattr(call.func, "attr", None)
    return site.vocabulary.parameters_of(name) if isinstance(name, str) else []


def _renamed(site: Site, call: ast.Call) -> Iterator[Edit]:
    for keyword in call.keywords:
        if keyword.arg is None:
            continue
        blamed = any(fault.missing == keyword.arg for fault in site.faults)
        used = [k.arg for k in _keywords_of(site, call) if k.arg]
        pool = rank_similar(keyword.arg, [*_parameters(site, call), *used])
        for place, name in enumerate(pool[:6]):
            text = f"{name}={site.text_of(keyword.value)}"
            prior = (1.0 if blamed else 0.2) / (1 + 0.2 * place)
            yield site.replace(keyword, text, rule="rename keyword", prior=prior)


def _keywords_of(site: Site, call: ast.Call) -> list[ast.keyword]:
    """The keywords that calls of the same callee in this file use."""
    known = site.vocabulary.keywords_of(site.text_of(call.func))
    return [keyword for keyword in known if keyword not in call.keywords]


def _append(site: Site, call: ast.Call, text: str, rule: str, prior: float) -> Edit | None:
    """Add an argument at the end of the call; None where the end is unclear."""
    _, end = site.source.span(call)
    closing = end - 1
    if site.source.text[closing] != ")" or _has_generator(call):
        return None
    inner = site.source.text[site.source.span(call.func)[1] : closing]
    if "#" in inner.rsplit("\n", 1)[-1]:
        return None
    stripped = inner.rstrip()
    separator = "" if stripped == "(" else " " if stripped.endswith(",") else ", "
    at = closing - (len(inner) - len(stripped))
    return site.splice(at, at, f"{separator}{text}", rule=rule, prior=prior)


def _has_generator(call: ast.Call) -> bool:
    return any(isinstance(arg, ast.GeneratorExp) for arg in call.args)


def _known_parameters(site: Site, call: ast.Call) -> Iterator[Edit]:
    given = {keyword.arg for keyword in call.keywords}
    for name in _parameters(site, call)[len(call.args) :]:
        if name in given or name == "self":
            continue
        if name in site.before:
            edit = _append(site, call, f"{name}={name}", "pass parameter on", 0.6)
            if edit is not None:
                yield edit
        for value, prior in (("True", 0.35), ("False", 0.35), ("None", 0.15)):
            edit = _append(site, call, f"{name}={value}", "add keyword", prior)
            if edit is not None:
                yield edit


def _donor_arguments(site: Site, call: ast.Call) -> Iterator[Edit]:
    """Keywords that other calls of the same callee pass."""
    given = {keyword.arg for keyword in call.keywords}
    texts = dict.fromkeys(site.text_of(k) for k in _keywords_of(site, call) if k.arg not in given)
    for text in list(texts)[:_NAMES_MAX]:
        edit = _append(site, call, text, "donor keyword", 0.4)
        if edit is not None:
            yield edit


def _by_position(site: Site, call: ast.Call) -> Iterator[Edit]:
    if call.keywords or any(isinstance(arg, ast.Starred) for arg in call.args):
        return
    names = [name for name in site.local_names if name in site.before and name != "self"]
    values = [*names[:_NAMES_MAX], "1", "0", "-1", "None", "True"]
    given = {site.text_of(arg) for arg in call.args}
    for place, value in enumerate(value for value in values if value not in given):
        edit = _append(site, call, value, "add argument", 0.14 / (1 + 0.05 * place))
        if edit is not None:
            yield edit
        if call.args and value in names:
            start, _ = site.source.span(call.args[0])
            prior = 0.1 / (1 + 0.05 * place)
            yield site.splice(start, start, f"{value}, ", rule="add argument", prior=prior)


def _dropped(site: Site, call: ast.Call) -> Iterator[Edit]:
    arguments = [*call.args, *call.keywords]
    if len(arguments) < 2 and not (arguments and isinstance(call.func, ast.Attribute)):
        return
    texts = [site.text_of(argument) for argument in arguments]
    for place in range(len(arguments)):
        kept = ", ".join(texts[:place] + texts[place + 1 :])
        text = f"{site.text_of(call.func)}({kept})"
        yield site.replace(call, text, rule="drop argument", prior=0.25, removal=True)
