"""A Python file as text and syntax tree at once: spans, parents, scopes, statements."""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from typing import TypeAlias

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
SIZE_MAX = 400_000
_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


class Source:
    """One source file.

    Offsets count characters from the file's beginning. Raises SyntaxError (or ValueError for null
    bytes) when the text is not Python of this interpreter's version.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.tree = ast.parse(text)
        # Not splitlines: form feeds and the like do not end a line of Python.
        self._lines = re.findall(r"[^\n]*\n|[^\n]+", text)
        self._starts = [0, *accumulate(len(line) for line in self._lines)]
        self._inside: dict[ast.AST, list[ast.AST]] = {}
        self._parents: dict[ast.AST, ast.AST] = {}
        for parent in ast.walk(self.tree):
            for child in ast.iter_child_nodes(parent):
                self._parents.setdefault(child, parent)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes, outermost first."""
        return list(ast.walk(self.tree))

    def nodes_in(self, node: ast.AST) -> list[ast.AST]:
        """All nodes of a function or class, itself included; kept, since they are asked often."""
        found = self._inside.get(node)
        if found is None:
            found = self._inside[node] = list(ast.walk(node))
        return found

    @property
    def line_count(self) -> int:
        return len(self._lines)

    def line(self, number: int) -> str:
        """The text of a line (from 1), with its end."""
        return self._lines[number - 1]

    def line_start(self, number: int) -> int:
        return self._starts[number - 1]

    def line_of(self, offset: int) -> int:
        """The number (from 1) of the line that holds the character at `offset`."""
        return min(bisect_right(self._starts, offset), max(self.line_count, 1))

    def offset(self, line: int, column_bytes: int) -> int:
        """The character offset of a tree position, whose column counts UTF-8 bytes."""
        text = self._lines[line - 1]
        if text.isascii():
            return self._starts[line - 1] + column_bytes
        return self._starts[line - 1] + len(text.encode()[:column_bytes].decode())

    def span(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None, "parsed nodes know their end"
        assert node.end_col_offset is not None, "parsed nodes know their end"
        return (
            self.offset(node.lineno, node.col_offset),
            self.offset(node.end_lineno, node.end_col_offset),
        )

    def text_of(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def parent(self, node: ast.AST) -> ast.AST | None:
        return self._parents.get(node)

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        parent = self._parents.get(node)
        while parent is not None:
            yield parent
            parent = self._parents.get(parent)

    def function_of(self, node: ast.AST) -> FunctionNode | None:
        """The innermost function whose body holds the node."""
        inner = node
        for outer in self.ancestors(node):
            if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef) and inner in outer.body:
                return outer
            inner = outer
        return None

    def outermost_function(self, line: int) -> tuple[str, str, int] | None:
        """Path, name and first line of the outermost function around a line.

        Functions inside functions are made anew at each call, so that only the outermost one can
        be found in a running process.
        """
        statement = self.statement_at(line)
        if statement is None:
            return None
        around = [statement, *self.ancestors(statement)]
        functions = [node for node in around if isinstance(node, FunctionNode)]
        if not functions:
            return None
        outer = functions[-1]
        first = min([outer.lineno, *(d.lineno for d in outer.decorator_list)])
        return self.path, outer.name, first

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        return next((n for n in self.ancestors(node) if isinstance(n, ast.ClassDef)), None)

    def segment_at(self, line: int) -> tuple[int, int] | None:
        """First and last line of the top-level definition around a line, decorators included."""
        for node in self.tree.body:
            if isinstance(node, FunctionNode | ast.ClassDef):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                assert node.end_lineno is not None, "parsed nodes know their end"
                if first <= line <= node.end_lineno:
                    return first, node.end_lineno
        return None

    @cached_property
    def statements(self) -> list[ast.stmt]:
        """All statements in the order of their lines."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.stmt)]
        return sorted(found, key=lambda node: (node.lineno, node.col_offset))

    @cached_property
    def _statement_by_line(self) -> dict[int, ast.stmt]:
        table: dict[int, ast.stmt] = {}
        for statement in self.statements:
            for line in self.header_lines(statement):
                table[line] = statement
        return table

    def statement_at(self, line: int) -> ast.stmt | None:
        """The innermost statement whose own lines (not those of its body) hold the line."""
        return self._statement_by_line.get(line)

    def statements_on(self, line: int) -> list[ast.stmt]:
        """The statement of a line and those it shares the line with (`if x: return y`)."""
        found: list[ast.stmt] = []
        inner = self.statement_at(line)
        if inner is None:
            return found
        found += [node for node in self.block_of(inner) if line in self.header_lines(node)]
        for outer in self.ancestors(inner):
            if isinstance(outer, ast.stmt) and line in self.header_lines(outer):
                found.append(outer)
        return found

    def header_lines(self, statement: ast.stmt) -> range:
        """A simple statement's lines; of a compound one those before its body."""
        assert statement.end_lineno is not None, "parsed nodes know their end"
        body = getattr(statement, "body", None) or getattr(statement, "cases", None)
        if not body:
            return range(statement.lineno, statement.end_lineno + 1)
        first = body[0].pattern.lineno if isinstance(body[0], ast.match_case) else body[0].lineno
        decorators = getattr(statement, "decorator_list", [])
        begin = min([statement.lineno, *(d.lineno for d in decorators)])
        return range(begin, max(begin + 1, first))

    def header_nodes(self, statement: ast.stmt) -> Iterator[ast.AST]:
        """The statement's own nodes, outermost first, without those of nested statements.

        Of f-strings only those parts are given whose place is known for sure: older Pythons
        are often wrong about it.
        """
        todo: list[ast.AST] = [statement]
        while todo:
            node = todo.pop(0)
            yield node
            if isinstance(node, ast.JoinedStr):
                values = [v.value for v in node.values if isinstance(v, ast.FormattedValue)]
                todo.extend(value for value in values if self._stands_where_it_says(value))
                continue
            for name, value in ast.iter_fields(node):
                if name in _BODIES and isinstance(node, ast.stmt | ast.ExceptHandler):
                    continue
                values = value if isinstance(value, list) else [value]
                todo.extend(child for child in values if isinstance(child, ast.AST))

    def _stands_where_it_says(self, node: ast.expr) -> bool:
        try:
            found = ast.parse(self.text_of(node).strip(), mode="eval").body
        except (SyntaxError, IndexError, UnicodeDecodeError):
            return False
        return ast.dump(found) == ast.dump(node)

    def runs_at_import(self, node: ast.AST) -> bool:
        """Whether the node is evaluated when the module is imported."""
        return self.function_of(node) is None

    def indent_of(self, statement: ast.stmt) -> str:
        line = self.line(statement.lineno)
        return line[: len(line) - len(line.lstrip())]

    def block_of(self, statement: ast.stmt) -> list[ast.stmt]:
        """The statements of the block the statement stands in, itself included."""
        parent = self._parents.get(statement)
        for name in _BODIES:
            block = getattr(parent, name, None)
            if isinstance(block, list) and statement in block:
                return block
        return [statement]
