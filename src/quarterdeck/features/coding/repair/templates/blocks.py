"""Where a statement stands: exchanged with its neighbour, out of or into a block, else branches."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.source import FunctionNode
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.3
_LINES_MAX = 12


def propose(site: Site) -> Iterator[Edit]:
    """Moves of the whole statement by one place or one level."""
    if site.is_elif:
        begin, _ = site.source.span(site.statement)
        yield site.splice(begin, begin + 2, "", rule="elif to if", prior=0.3)
    if not site.stands_alone or isinstance(site.statement, FunctionNode | ast.ClassDef):
        return
    if _line_count(site.statement) > _LINES_MAX:
        return
    yield from _exchanged(site)
    yield from _dedented(site)
    yield from _indented(site)
    yield from _else_branch(site)


def _line_count(statement: ast.stmt) -> int:
    assert statement.end_lineno is not None, "parsed nodes know their end"
    return statement.end_lineno - statement.lineno + 1


def _lines(site: Site, statement: ast.stmt) -> tuple[int, int]:
    """The span of the statement's whole lines."""
    assert statement.end_lineno is not None, "parsed nodes know their end"
    last = statement.end_lineno
    end = site.source.line_start(last) + len(site.source.line(last))
    return site.source.line_start(statement.lineno), end


def _whole(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _exchanged(site: Site) -> Iterator[Edit]:
    block = site.source.block_of(site.statement)
    place = block.index(site.statement)
    for neighbour in block[place - 1 : place] + block[place + 1 : place + 2]:
        if _line_count(neighbour) > _LINES_MAX:
            continue
        first, second = sorted((site.statement, neighbour), key=lambda node: node.lineno)
        (start, middle), (resume, end) = _lines(site, first), _lines(site, second)
        if middle > resume:
            continue
        text = site.source.text
        moved = _whole(text[resume:end]) + text[middle:resume] + _whole(text[start:middle])
        yield site.splice(start, end, moved, rule="exchange statements", prior=0.25)


def _dedented(site: Site) -> Iterator[Edit]:
    """The last statement of a block, moved behind it; or the first, moved before it."""
    parent = site.source.parent(site.statement)
    block = site.source.block_of(site.statement)
    outer = isinstance(parent, ast.stmt) and not isinstance(parent, FunctionNode | ast.ClassDef)
    if not outer or len(block) < 2 or not isinstance(parent, ast.stmt):
        return
    start, end = _lines(site, site.statement)
    shift = len(site.indent) - len(site.source.indent_of(parent))
    if shift <= 0:
        return
    text = site.source.text
    shifted = _shift(_whole(text[start:end]), -shift)
    if block[-1] is site.statement and parent.end_lineno == site.statement.end_lineno:
        yield site.splice(start, end, shifted, rule="move out of block", prior=0.25)
    elif block[-1] is site.statement:
        _, after = _lines(site, parent)
        moved = text[end:after] + shifted
        yield site.splice(start, after, moved, rule="move behind block", prior=0.2)
    if block[0] is site.statement and not getattr(parent, "orelse", None):
        before, _ = _lines(site, parent)
        moved = shifted + text[before:start]
        yield site.splice(before, end, moved, rule="move before block", prior=0.2)


def _shift(text: str, columns: int) -> str:
    lines = text.splitlines(keepends=True)
    if columns >= 0:
        return "".join(" " * columns + line if line.strip() else line for line in lines)
    return "".join(
        line[-columns:] if not line[:-columns].strip() else line.lstrip() for line in lines
    )


def _indented(site: Site) -> Iterator[Edit]:
    """Into the block just before."""
    block = site.source.block_of(site.statement)
    place = block.index(site.statement)
    if not place:
        return
    previous = block[place - 1]
    body = getattr(previous, "orelse", None) or getattr(previous, "body", None)
    if not isinstance(body, list) or isinstance(previous, FunctionNode | ast.ClassDef):
        return
    start, end = _lines(site, site.statement)
    shift = len(site.source.indent_of(body[-1])) - len(site.indent)
    if shift > 0 and body[-1].lineno > previous.lineno:
        shifted = _shift(site.source.text[start:end], shift)
        yield site.splice(start, end, shifted, rule="move into block", prior=0.2)


def _else_branch(site: Site) -> Iterator[Edit]:
    """What follows an `if` becomes its `else` branch."""
    block = site.source.block_of(site.statement)
    place = block.index(site.statement)
    previous = block[place - 1] if place else None
    if isinstance(previous, ast.If) and not previous.orelse:
        start, end = _lines(site, site.statement)
        shifted = _shift(site.source.text[start:end], 4)
        text = f"{site.indent}else:\n{shifted}"
        yield site.splice(start, end, text, rule="else branch", prior=0.2)
    if isinstance(site.statement, ast.If) and isinstance(previous, ast.If) and not previous.orelse:
        begin, _ = site.source.span(site.statement)
        yield site.splice(begin, begin, "el", rule="if to elif", prior=0.3)
