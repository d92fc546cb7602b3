"""One suspicious statement with what templates may ask about it: nodes, names in scope, faults."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.source import FunctionNode, Source
from quarterdeck.features.coding.repair.spectrum import Fault
from quarterdeck.features.coding.repair.templates.vocabulary import Vocabulary, vocabulary_of
from quarterdeck.features.coding.repair.wanted import Constant

_Expression = TypeVar("_Expression", bound=ast.expr)
BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("_"))
_ATOMS = (
    ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Constant
    | ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A statement under suspicion.

    `faults` are those whose traceback names the statement's function (or all, when none does);
    `wanted` are constants the failing tests mention.
    """

    source: Source
    statement: ast.stmt
    faults: Sequence[Fault] = ()
    wanted: Sequence[Constant] = ()

    @cached_property
    def function(self) -> FunctionNode | None:
        if isinstance(self.statement, FunctionNode):
            return self.statement
        return self.source.function_of(self.statement)

    @property
    def vocabulary(self) -> Vocabulary:
        """What the whole file says."""
        return vocabulary_of(self.source)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """The statement's own nodes, outermost first."""
        return list(self.source.header_nodes(self.statement))

    @cached_property
    def expressions(self) -> list[ast.expr]:
        """The expressions that are read (not assigned to), outermost first; no annotations."""
        annotations = set(self._annotation_nodes())
        return [
            node
            for node in self.nodes
            if isinstance(node, ast.expr)
            and not isinstance(getattr(node, "ctx", None), ast.Store | ast.Del)
            and not isinstance(node, ast.Slice)
            and node not in annotations
            and not self._is_docstring(node)
        ]

    def _annotation_nodes(self) -> Iterator[ast.AST]:
        for node in self.nodes:
            for name in ("annotation", "returns"):
                if isinstance(annotation := getattr(node, name, None), ast.AST):
                    yield from ast.walk(annotation)

    def _is_docstring(self, node: ast.expr) -> bool:
        return isinstance(self.source.parent(node), ast.Expr) and isinstance(node, ast.Constant)

    def of(self, kind: type[_Expression]) -> Iterator[_Expression]:
        """The expressions of one kind."""
        return (node for node in self.expressions if isinstance(node, kind))

    @cached_property
    def text(self) -> str:
        return self.source.text_of(self.statement)

    def text_of(self, node: ast.expr | ast.stmt | ast.keyword | ast.arg) -> str:
        return self.source.text_of(node)

    def replace(
        self,
        node: ast.expr | ast.stmt | ast.keyword | ast.arg,
        text: str,
        *,
        rule: str,
        prior: float,
        removal: bool = False,
    ) -> Edit:
        """Put `text` in the node's place."""
        start, end = self.source.span(node)
        return self.splice(start, end, text, rule=rule, prior=prior, removal=removal)

    def splice(
        self, start: int, end: int, text: str, *, rule: str, prior: float, removal: bool = False
    ) -> Edit:
        """Put `text` in the place of a span; an empty span inserts."""
        return Edit(self.source.path, start, end, text, rule, prior, removal)

    @cached_property
    def _format_strings(self) -> list[tuple[int, int]]:
        return [self.source.span(n) for n in self.nodes if isinstance(n, ast.JoinedStr)]

    def in_format_string(self, edit: Edit) -> bool:
        """Whether the edit lies inside an f-string, where not every text is allowed."""
        return any(start < edit.start and edit.end < end for start, end in self._format_strings)

    def still_parses(self, edit: Edit) -> bool:
        """Whether the statement is Python after the edit, which lies within it."""
        start, _ = self.source.span(self.statement)
        head = self.source.line_start(self.statement.lineno)
        block = " " * (start - head) + self.text
        local = block[: edit.start - head] + edit.text + block[edit.end - head :]
        try:
            ast.parse(textwrap.dedent(local))
        except SyntaxError:
            return False
        return True

    def operand(self, node: ast.expr) -> str:
        """The node's text, in parentheses where it would bind too weakly beside an operator."""
        text = self.text_of(node)
        return text if isinstance(node, _ATOMS) else f"({text})"

    def fitted(self, node: ast.expr, text: str) -> str:
        """`text` in place of `node`: in parentheses unless the place is closed on both sides."""
        parent = self.source.parent(node)
        closed = isinstance(
            parent,
            ast.Call | ast.Return | ast.Assign | ast.AugAssign | ast.Compare
            | ast.Subscript | ast.Slice,
        )  # fmt: skip
        head = getattr(parent, "func", None)
        if isinstance(parent, ast.Subscript):
            head = parent.value
        return text if closed and node is not head else f"({text})"

    @cached_property
    def local_names(self) -> list[str]:
        """Parameters and names assigned in the enclosing functions, nearest function first."""
        found: dict[str, None] = {}
        functions = [self.function] if self.function else []
        functions += [
            node
            for node in self.source.ancestors(self.statement)
            if isinstance(node, FunctionNode) and node not in functions
        ]
        for function in functions:
            found.update(dict.fromkeys(_bound_in(self.source, function)))
        return list(found)

    @cached_property
    def global_names(self) -> list[str]:
        """Names bound at the module's top level."""
        return _global_names(self.source)

    @cached_property
    def before(self) -> set[str]:
        """Local names bound on an earlier line of the function (parameters among them)."""
        if self.function is None:
            return set()
        parameters = {arg.arg for arg in _parameters(self.function)}
        return parameters | {
            node.id
            for node in self.source.nodes_in(self.function)
            if isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store)
            and node.lineno <= self.statement.lineno
        }

    @property
    def in_loop(self) -> bool:
        """Whether `break` and `continue` are allowed here."""
        inner: ast.AST = self.statement
        for outer in self.source.ancestors(self.statement):
            if isinstance(outer, FunctionNode | ast.ClassDef):
                return False
            if isinstance(outer, ast.For | ast.While | ast.AsyncFor) and inner in outer.body:
                return True
            inner = outer
        return False

    @property
    def indent(self) -> str:
        return self.source.indent_of(self.statement)

    @property
    def stands_alone(self) -> bool:
        """Whether the statement begins its line, so that lines can be put before it."""
        start, _ = self.source.span(self.statement)
        begin = self.source.line_start(self.statement.lineno)
        return not self.source.text[begin:start].strip() and not self.is_elif

    @property
    def is_elif(self) -> bool:
        """Whether the statement is the `elif` of another one."""
        return isinstance(self.statement, ast.If) and self.text.startswith("elif")

    def insert_before(
        self, lines: Sequence[str], *, rule: str, prior: float, removal: bool = False
    ) -> Edit:
        """Put whole lines before the statement, at its indentation."""
        begin = self.source.line_start(self.statement.lineno)
        text = "".join(f"{self.indent}{line}\n" for line in lines)
        return self.splice(begin, begin, text, rule=rule, prior=prior, removal=removal)


@lru_cache(maxsize=64)
def _global_names(source: Source) -> list[str]:
    names = (name for statement in source.tree.body for name in _bound_by(statement))
    return list(dict.fromkeys(names))


def _parameters(function: FunctionNode) -> list[ast.arg]:
    arguments = function.args
    extra = [arg for arg in (arguments.vararg, arguments.kwarg) if arg is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def _bound_in(source: Source, function: FunctionNode) -> Iterator[str]:
    yield from (arg.arg for arg in _parameters(function))
    for node in source.nodes_in(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, FunctionNode) and node is not function:
            yield node.name


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, FunctionNode | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield (alias.asname or alias.name).split(".")[0]
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def operator_span(
    source: Source, left: ast.expr, right: ast.expr, symbol: str
) -> tuple[int, int] | None:
    """Where the operator between two operands stands; None when comments make that unclear."""
    start, end = source.span(left)[1], source.span(right)[0]
    gap = source.text[start:end]
    if "#" in gap:
        return None
    pattern = r"\s+".join(re.escape(word) for word in symbol.split())
    if symbol[0].isalpha():
        pattern = rf"\b{pattern}\b"
    found = re.search(pattern, gap)
    return None if found is None else (start + found.start(), start + found.end())
