"""What must not stand in the tree: loose ends, places of one machine, SQL in the wrong house."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

import pytest

# Written in parts, so that this file passes its own rules.
LOOSE_ENDS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(work|ro" r"ot|opt/wheels|home/\w+|Us" r"ers/\w+)/")
REGISTRIES = re.compile(
    r"pypi\.o"
    r"rg|pythonhosted\.o"
    r"rg|registry\.npmjs|registry\.yarnpkg|static\.crates|"
    r"proxy\.golang|repo1\.maven|repo\.maven|deb\.debian\.o"
    r"rg"
)
SUPPRESSION = re.compile(r"#\s*(noqa|type: ignore|pyrefly: ignore|pragma: no (cover|branch))")
REASON = re.compile(r"\s[-—#]\s+\w")
SQL = re.compile(
    r"\s*(SELECT\s.+\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|"
    r"(CREATE|ALTER|DROP)\s+(TABLE|INDEX|UNIQUE|VIRTUAL|VIEW|TRIGGER)\b|PRAGMA\s|VACUUM\b|"
    r"BEGIN\s+(IMMEDIATE|EXCLUSIVE)|WITH\s+(RECURSIVE\s+)?\w+\s+AS\s*\()",
    re.DOTALL,
)


def _comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _lines_with(pattern: re.Pattern[str], texts: dict[str, str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts.items()
        if pattern.search(text)
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_nothing_is_left_for_later(texts, sources):
    python = [
        f"{source.name}:{line}: {comment}"
        for source in sources
        for line, comment in _comments(source.text)
        if LOOSE_ENDS.search(comment)
    ]
    others = {name: text for name, text in texts.items() if not name.endswith(".py")}
    assert not python + _lines_with(LOOSE_ENDS, others), "finish it, or open an issue"


def test_no_path_of_a_machine(texts):
    assert not _lines_with(MACHINE_PATHS, texts), "this holds on one machine only"


def test_no_host_of_a_registry(texts):
    assert not _lines_with(REGISTRIES, texts), "the clients know their registries"


def test_every_suppression_has_its_reason(sources):
    bare = [
        f"{source.name}:{line}: {comment}"
        for source in sources
        for line, comment in _comments(source.text)
        if SUPPRESSION.match(comment) and not REASON.search(comment)
    ]
    assert not bare, "say why on the line: '# noqa: RULE - the reason'"


def test_sql_lives_in_the_storage_and_in_stores(product):
    strays = [
        f"{source.name}:{node.lineno}: {node.value.strip()[:80]}"
        for source in product
        if "/storage/" not in source.name and not source.name.endswith("store.py")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value)
    ]
    assert not strays


@pytest.mark.parametrize(
    "text",
    ["SELECT seq, body FROM log", "  insert into log values".upper(), "PRAGMA user_version"],
)
def test_the_sql_rule_sees_sql(text):
    assert SQL.match(text)


@pytest.mark.parametrize(
    "text", ["Select a mission from the list.", "Update the page", "With the plan as (a) list"]
)
def test_the_sql_rule_leaves_prose_alone(text):
    assert not SQL.match(text)
