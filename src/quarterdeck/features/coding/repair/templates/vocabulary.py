"""What one file says elsewhere: its methods, functions, attributes, constants and calls.

Read once per file, since templates ask for it at every statement.
"""

from __future__ import annotations

import ast
from functools import lru_cache

from quarterdeck.features.coding.repair.source import FunctionNode, Source


class Vocabulary:
    """A file's own words, each list in the order of first use unless said otherwise."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._plain_methods: dict[str, None] = {}
        self._wrappers: dict[str, int] = {}
        self._attributes: dict[str, None] = {}
        self._attributes_of: dict[str, dict[str, None]] = {}
        self._keywords: dict[str, list[ast.keyword]] = {}
        self._parameters: dict[str, list[str]] = {}
        self._constants: dict[type, dict[object, None]] = {}
        for node in source.nodes:
            self._note(node)

    def _note(self, node: ast.AST) -> None:
        match node:
            case ast.Call():
                self._note_call(node)
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                self._attributes.setdefault(name)
                self._attributes_of.setdefault(owner, {}).setdefault(name)
            case ast.Attribute(attr=name):
                self._attributes.setdefault(name)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._note_definition(node)
            case ast.Constant(value=value):
                self._constants.setdefault(type(value), {}).setdefault(value)
            case _:
                pass

    def _note_call(self, node: ast.Call) -> None:
        match node:
            case ast.Call(func=ast.Attribute(attr=name), args=[], keywords=[]):
                self._plain_methods.setdefault(name)
            case ast.Call(func=ast.Name(id=name), args=[_], keywords=[]):
                self._wrappers[name] = self._wrappers.get(name, 0) + 1
            case _:
                pass
        if node.keywords:
            callee = self._source.text_of(node.func)
            self._keywords.setdefault(callee, []).extend(node.keywords)

    def _note_definition(self, node: FunctionNode | ast.ClassDef) -> None:
        if isinstance(node, ast.ClassDef):
            inits = [n for n in node.body if isinstance(n, FunctionNode) and n.name == "__init__"]
            if inits:
                self._parameters.setdefault(node.name, _parameters(inits[0]))
            return
        self._parameters.setdefault(node.name, _parameters(node))
        if isinstance(self._source.parent(node), ast.ClassDef):
            self._attributes.setdefault(node.name)

    @property
    def plain_methods(self) -> list[str]:
        """Methods that are called without arguments."""
        return list(self._plain_methods)

    @property
    def wrappers(self) -> list[str]:
        """Functions that are called with one argument, most often first."""
        return sorted(self._wrappers, key=lambda name: -self._wrappers[name])

    @property
    def attributes(self) -> list[str]:
        """Attributes used and methods defined."""
        return list(self._attributes)

    def attributes_of(self, owner: str) -> list[str]:
        """Attributes used on the name `owner`."""
        return list(self._attributes_of.get(owner, ()))

    def keywords_of(self, callee: str) -> list[ast.keyword]:
        """The keywords given in calls of `callee` (as written)."""
        return self._keywords.get(callee, [])

    def parameters_of(self, name: str) -> list[str]:
        """Parameters of the function, method or class of that name; empty when unknown."""
        return self._parameters.get(name, [])

    def constants(self, kind: type) -> list[object]:
        """The constants of one type."""
        return list(self._constants.get(kind, ()))


def _parameters(function: FunctionNode) -> list[str]:
    return [arg.arg for arg in [*function.args.args, *function.args.kwonlyargs]]


@lru_cache(maxsize=64)
def vocabulary_of(source: Source) -> Vocabulary:
    """The file's vocabulary, read at the first asking."""
    return Vocabulary(source)
