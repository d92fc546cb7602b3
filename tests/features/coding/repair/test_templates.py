"""Templates: each family proposes the edit it exists for, and every edit is valid Python."""

from __future__ import annotations

import ast
import inspect
import random
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quarterdeck.features.coding.repair.source import Source
from quarterdeck.features.coding.repair.spectrum import Fault
from quarterdeck.features.coding.repair.templates import FAMILIES
from quarterdeck.features.coding.repair.templates.site import Site

# family, wrong line, right line; both stand in the function below
PLANTED = [
    ("comparison", "if a < b: pass", "if a <= b: pass"),
    ("comparison", "if a is b: pass", "if a is not b: pass"),
    ("comparison", "if a in items: pass", "if a not in items: pass"),
    ("offset", "x = items[a]", "x = items[a - 1]"),
    ("offset", "for i in range(b): pass", "for i in range(b + 1): pass"),
    ("offset", "x = items[a + 1]", "x = items[a]"),
    ("names", "x = total(a)", "x = total(b)"),
    ("names", "x = summ(a)", "x = total(a)"),
    ("names", "x = total(a)", "x = a"),
    ("names", "x = 1", "count = 1"),
    ("donors", "x = 2", "x = 2\n    items.append(b)"),
    ("slices", "x = items[a:]", "x = items[:a]"),
    ("slices", "x = items", "x = items[1:]"),
    ("constants", "x = 3", "x = 2"),
    ("constants", "x = total(a, flag=True)", "x = total(a, flag=False)"),
    ("constants", "x = 'south'", "x = 'north'"),
    ("swaps", "x = divide(a, b)", "x = divide(b, a)"),
    ("swaps", "x = a - b", "x = b - a"),
    ("arithmetic", "x = a + b", "x = a - b"),
    ("arithmetic", "count += a", "count -= a"),
    ("arithmetic", "x = a + b", "x = a"),
    ("wraps", "x = a", "x = max(0, a)"),
    ("wraps", "x = text", "x = text.strip()"),
    ("wraps", "x = str(a)", "x = a"),
    ("wraps", "x = a", "x = len(a)"),
    ("synonyms", "items.append(b)", "items.extend(b)"),
    ("synonyms", "x = any(items)", "x = all(items)"),
    ("guards", "x = text.upper()", "if not text:\n        return None\n    x = text.upper()"),
    ("guards", "x = text + 'a'", "if not isinstance(text, str):\n        text = str(text)\n    x = text + 'a'"),
    ("guards", "x = text.upper()", "if not text:\n        raise ValueError\n    x = text.upper()"),
    ("returns", "return count", "return [count]"),
    ("returns", "total(a)", "return total(a)"),
    ("booleans", "if a and b: pass", "if a or b: pass"),
    ("booleans", "if a: pass", "if not a: pass"),
    ("booleans", "if a: pass", "if a and not b: pass"),
    ("blocks", "x = 2", "pass\n    x = 2"),
    ("loops", "while True: break", "while b: break"),
    ("attributes", "x = text.uper()", "x = text.upper()"),
    ("attributes", "x = a", "x = a.name"),
    ("arguments", "x = divide(a)", "x = divide(a, b=b)"),
    ("arguments", "x = total(a, flagg=1)", "x = total(a, flag=1)"),
    ("arguments", "x = total(a, flag=1)", "x = total(a)"),
    ("handlers", "raise KeyError(a)", "raise ValueError(a)"),
    ("handlers", "x = int(text)", "try:\n        x = int(text)\n    except ValueError:\n        return None"),
    ("imports", "x = ceil(a)", "x = ceil(a)"),
    ("wraps", "x = f'{a:.0f}'", "x = f'{abs(a):.0f}'"),
    ("regexes", "x = re.match(r'\\d+', text)", "x = re.match(r'\\d*', text)"),
    ("removals", "items.clear()", "pass"),
]  # fmt: skip
FAULTS = (
    Fault("ValueError", "bad", (), (("m.py", 1, "f"),)),
    Fault("AttributeError", "no 'uper'", (), (), missing="uper", close=("upper",)),
    Fault("Failed", "DID NOT RAISE ValueError"),
    Fault("NameError", "no 'ceil'", (), (), missing="ceil"),
    Fault("NameError", "no 'summ'", (), (), missing="summ", close=("total",)),
)
AROUND = """
import re

def total(values, flag=False):
    return sum(values)

def divide(a, b):
    return a / b

def f(a, b, items, text):
    count = len(text)
    items.append(b)
    print(a.name)
    if not b:
        return None
    {line}
    return None
"""


def site_of(line: str) -> Site:
    source = Source("m.py", AROUND.format(line=line))
    # of `if a: pass` the outer statement, which comes last
    number = AROUND[: AROUND.index("{line}")].count("\n") + 1
    statement = source.statements_on(number)[-1]
    return Site(source, statement, FAULTS, ("north", 7))


@pytest.mark.parametrize(("family", "wrong", "right"), PLANTED)
def test_a_family_proposes_the_edit_it_exists_for(family: str, wrong: str, right: str):
    site = site_of(wrong)
    goal = ast.dump(ast.parse(AROUND.format(line=right)))
    (propose,) = (one.propose for one in FAMILIES if one.name == family)

    results = {edit.apply(site.source.text) for edit in propose(site)}

    if family == "imports":
        assert any(text.startswith("\nimport re\nfrom math import ceil\n") for text in results)
        return
    if family == "blocks":
        goals = [text for text in results if "    x = 2\n    if not b:" in text]
        assert goals
        return
    assert goal in {ast.dump(ast.parse(text)) for text in results if _is_python(text)}


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


SOURCES = [Source("m.py", inspect.getsource(module)) for module in (textwrap, random)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_every_edit_parses_and_changes_the_tree(data: st.DataObject):
    source = data.draw(st.sampled_from(SOURCES))
    statement = data.draw(st.sampled_from(source.statements))
    family = data.draw(st.sampled_from(FAMILIES))
    site = Site(source, statement, FAULTS, ("north", 7))
    edits = [edit for _, edit in zip(range(200), family.propose(site), strict=False)]
    if not edits:
        return
    edit = data.draw(st.sampled_from(edits))

    patched = ast.parse(edit.apply(source.text))

    assert ast.dump(patched) != ast.dump(source.tree)
    assert edit.family == family.name
    assert edit.prior <= family.prior_max


def test_priors_do_not_exceed_what_a_family_announces():
    for family, wrong, _ in PLANTED:
        (one,) = (f for f in FAMILIES if f.name == family)
        priors = [edit.prior for edit in one.propose(site_of(wrong))]
        assert max(priors, default=0.0) <= one.prior_max
