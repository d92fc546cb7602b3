"""Guards before a statement: `if not x: return …`, None tests, type tests, defaults."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.spectrum import NOT_RAISED
from quarterdeck.features.coding.repair.templates.booleans import candidate_conditions
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.9
_NAMES_MAX = 6
_CONDITIONS_MAX = 10
_TYPES = ("str", "int", "list", "tuple", "dict", "bytes", "float", "bool", "set")


def propose(site: Site) -> Iterator[Edit]:
    """Guards that the fault asks for first, then truth tests, donor conditions, type tests."""
    if site.function is None or not site.stands_alone:
        return
    for name, prior in _names(site):
        yield from _none_guards(site, name, prior)
    for condition in candidate_conditions(site, site.text)[:_CONDITIONS_MAX]:
        if " " in condition:
            yield from _guarded(site, condition, 0.12, "donor guard")
    for name, prior in _names(site):
        yield from _type_guards(site, name, prior)
    if isinstance(site.statement, ast.Expr | ast.Assign | ast.AugAssign):
        yield from _made_conditional(site)


def _names(site: Site) -> list[tuple[str, float]]:
    """Names the statement reads, with a weight: 0.9 where a fault saw None there, else 0.25."""
    used = dict.fromkeys(node.id for node in site.of(ast.Name) if node.id in site.before)
    none_seen = {
        name
        for fault in site.faults
        if fault.type in ("TypeError", "AttributeError") and "None" in fault.text
        for name, kind in fault.locals.items()
        if kind == "NoneType"
    }
    weighted = [(name, 0.9 if name in none_seen else 0.25) for name in used if name != "self"]
    weighted += [
        (f"self.{node.attr}", 0.2)
        for node in site.of(ast.Attribute)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    ]
    return sorted(dict(weighted).items(), key=lambda item: -item[1])[:_NAMES_MAX]


def _exits(site: Site) -> list[str]:
    """Ways to leave: those of this function, then the everyday ones."""
    assert site.function is not None
    found: dict[str, None] = dict.fromkeys(f"raise {name}" for name in _unraised(site))
    if site.in_loop:
        found.update(dict.fromkeys(("continue", "break")))
    returns = [node for node in site.source.nodes_in(site.function) if isinstance(node, ast.Return)]
    for node in returns:
        if isinstance(node.value, ast.Constant | ast.Name | ast.List | ast.Dict | ast.Tuple | None):
            found.setdefault(site.text_of(node))
    found.setdefault("return None" if returns else "return")
    if site.function.name == "__next__":
        found.setdefault("raise StopIteration")
    raises = [node for node in site.source.nodes_in(site.function) if isinstance(node, ast.Raise)]
    found.update(dict.fromkeys(text for node in raises if "\n" not in (text := site.text_of(node))))
    for value in ("False", "True", "[]", '""', "0", "1") if returns else ():
        found.setdefault(f"return {value}")
    return list(found)


def _unraised(site: Site) -> list[str]:
    """Exceptions that a failing test waits for in vain, as its framework words it."""
    texts = [fault.text for fault in site.faults]
    found = [match for text in texts for match in NOT_RAISED.findall(text)]
    return [name for name in dict.fromkeys(one or other for one, other in found) if name]


def _guarded(site: Site, condition: str, prior: float, rule: str) -> Iterator[Edit]:
    for place, leave in enumerate(_exits(site)):
        lines = [f"if {condition}:", f"    {leave}"]
        yield site.insert_before(lines, rule=rule, prior=prior / (1 + 0.1 * place))


def _none_guards(site: Site, name: str, prior: float) -> Iterator[Edit]:
    tests = (
        (f"{name} is None", f"not {name}") if prior > 0.5 else (f"not {name}", f"{name} is None")
    )
    for place, test in enumerate(tests):
        yield from _guarded(site, test, prior * (0.9 if place else 1.0), "guard")
        for value in ("[]", '""', "0", "{}") if "." not in name else ():
            lines = [f"if {test}:", f"    {name} = {value}"]
            yield site.insert_before(lines, rule="default", prior=prior * 0.4)
    for place, leave in enumerate([f"return {name}"] if "." not in name else []):
        lines = [f"if not {name}:", f"    {leave}"]
        yield site.insert_before(lines, rule="guard", prior=prior * 0.5 / (1 + place))


def _type_guards(site: Site, name: str, prior: float) -> Iterator[Edit]:
    """Type tests with the types the faults saw, the file's classes and the everyday ones."""
    seen = [f.locals[name] for f in site.faults if name in f.locals]
    classes = [node.name for node in site.source.tree.body if isinstance(node, ast.ClassDef)]
    known = {*_TYPES, *classes}
    kinds = [kind for kind in dict.fromkeys([*seen, *classes[:4], *_TYPES[:5]]) if kind in known]
    for kind in kinds:
        weight = prior * (0.6 if kind in seen else 0.25)
        for test in (f"isinstance({name}, {kind})", f"not isinstance({name}, {kind})"):
            for leave in _exits(site)[:4]:
                lines = [f"if {test}:", f"    {leave}"]
                yield site.insert_before(lines, rule="type guard", prior=weight)
        if "." not in name:
            for value in (f"{kind}({name})", f"[{name}]") if kind != "list" else (f"[{name}]",):
                lines = [f"if not isinstance({name}, {kind}):", f"    {name} = {value}"]
                yield site.insert_before(lines, rule="type guard", prior=weight)


def _made_conditional(site: Site) -> Iterator[Edit]:
    """The statement itself under a condition."""
    body = site.text.replace("\n", "\n    ")
    for place, condition in enumerate(candidate_conditions(site, "")[:_CONDITIONS_MAX]):
        text = f"if {condition}:\n{site.indent}    {body}"
        prior = 0.12 / (1 + 0.1 * place)
        yield site.replace(site.statement, text, rule="make conditional", prior=prior)
