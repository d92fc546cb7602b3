"""Sources: places in the text and places in the tree are the same places."""

from __future__ import annotations

import ast
import inspect
import textwrap

import pytest

from quarterdeck.features.coding.repair.source import Source

TEXT = '''\
"""Ümlaut."""
LIMIT = 3  # größer

@decorated
def f(a, b="ä"):
    if a > LIMIT: return b
    text = f"{a:>3} {b!r} {a + 1}"
    def inner():
        return "\\x0c\x0c" + b
    return inner
'''


@pytest.mark.parametrize("text", [TEXT, inspect.getsource(textwrap)])
def test_spans_cut_out_what_the_parser_cuts_out(text):
    source = Source("m.py", text)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.stmt | ast.expr) and source.parent(node) is not None:
            if any(isinstance(outer, ast.JoinedStr) for outer in source.ancestors(node)):
                continue
            assert source.text_of(node) == ast.get_source_segment(text, node)


def test_lines_that_share_a_statement():
    source = Source("m.py", TEXT)

    kinds = [type(statement).__name__ for statement in source.statements_on(6)]

    assert kinds == ["Return", "If"]


def test_a_definition_is_one_segment_with_its_decorators():
    source = Source("m.py", TEXT)

    assert source.segment_at(7) == (4, 10)
    assert source.segment_at(2) is None


def test_the_outermost_function_is_the_one_that_can_be_found():
    source = Source("m.py", TEXT)

    assert source.outermost_function(9) == ("m.py", "f", 4)
    assert source.outermost_function(2) is None


def test_parts_of_format_strings_are_given_only_where_their_place_is_sure():
    source = Source("m.py", TEXT)
    statement = source.statements_on(7)[0]

    for node in source.header_nodes(statement):
        if isinstance(node, ast.BinOp) or (isinstance(node, ast.Name) and node.id != "text"):
            assert ast.dump(ast.parse(source.text_of(node), mode="eval").body) == ast.dump(node)


def test_what_runs_at_import():
    source = Source("m.py", TEXT)

    assert source.runs_at_import(source.statements_on(2)[0])
    assert not source.runs_at_import(source.statements_on(9)[0])
