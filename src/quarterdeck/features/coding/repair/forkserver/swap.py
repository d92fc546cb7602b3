"""Swapping the code of living functions for that of a patched definition."""

from __future__ import annotations
import __future__

import gc
import os
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

_OPTIMIZED = 0x1
_FUTURE_FLAGS = 0
for _name in __future__.all_feature_names:
    _FUTURE_FLAGS |= getattr(__future__, _name).compiler_flag

if TYPE_CHECKING:
    Key = tuple[str, str, int]


class NotSwappable(Exception):
    """The patch reaches code that runs at import, or no living function carries the old code."""


class Unchanged(Exception):
    """The patch compiles to code that was tried already (or to the original)."""


class Functions:
    """Every living Python function of the project's files, by file, name and first line."""

    def __init__(self, root: str) -> None:
        self._root = os.path.join(os.path.realpath(root), "")
        self._functions: dict[Key, list[FunctionType]] = {}
        self._flags: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._originals: dict[tuple[str, int], CodeType] = {}
        self._tried: set[Any] = set()
        self._real: dict[str, str] = {}

    def index(self) -> None:
        """Look over all objects once; called after collection, before the first fork."""
        for thing in gc.get_objects():
            if type(thing) is FunctionType:
                code = thing.__code__
                path = self.real(code.co_filename)
                if path.startswith(self._root):
                    self._names[path] = code.co_filename
                    key = (path, code.co_name, code.co_firstlineno)
                    self._functions.setdefault(key, []).append(thing)

    def real(self, filename: str) -> str:
        path = self._real.get(filename)
        if path is None:
            path = self._real[filename] = os.path.realpath(filename)
        return path

    def find(self, path: str, name: str, first_line: int) -> list[FunctionType]:
        return self._functions.get((self.real(path), name, first_line), [])

    def compile(
        self, path: str, first_line: int, last_line: int, text: str, again: bool = False
    ) -> Patch:
        """The patch of one top-level definition.

        `text` replaces the lines `first_line`..`last_line` of the file at `path`; `again` allows
        code that was tried before. Raises SyntaxError, Unchanged or NotSwappable.
        """
        path = self.real(path)
        original = self._original(path, first_line, last_line)
        new = self._compile(path, first_line, text)
        identity = (path, first_line, fingerprint(new))
        if identity in self._tried and not again:
            raise Unchanged
        self._tried.add(identity)
        if fingerprint(new, nested=False) != fingerprint(original, nested=False):
            raise NotSwappable
        swaps = self._swaps(path, original, new)
        if not swaps:
            raise NotSwappable
        return Patch(swaps)

    def _original(self, path: str, first_line: int, last_line: int) -> CodeType:
        code = self._originals.get((path, first_line))
        if code is None:
            with open(path, encoding="utf-8") as file:
                lines = file.read().split("\n")
            code = self._compile(
                path, first_line, "\n".join(lines[first_line - 1 : last_line]) + "\n"
            )
            self._originals[path, first_line] = code
            self._tried.add((path, first_line, fingerprint(code)))
        return code

    def _compile(self, path: str, first_line: int, text: str) -> CodeType:
        name = self._names.get(path, path)
        padded = "\n" * (first_line - 1) + text
        code = compile(padded, name, "exec", flags=self._flags_of(path), dont_inherit=True)
        assert isinstance(code, CodeType)
        return code

    def _flags_of(self, path: str) -> int:
        flags = self._flags.get(path)
        if flags is None:
            with open(path, encoding="utf-8") as file:
                whole = compile(file.read(), path, "exec", dont_inherit=True)
            flags = self._flags[path] = whole.co_flags & _FUTURE_FLAGS
        return flags

    def _swaps(
        self, path: str, old: CodeType, new: CodeType
    ) -> list[tuple[FunctionType, CodeType]]:
        swaps = []
        for before, after in pairs(old, new):
            if not before.co_flags & _OPTIMIZED or fingerprint(before) == fingerprint(after):
                continue
            for function in self.find(path, before.co_name, before.co_firstlineno):
                if len(function.__code__.co_freevars) != len(after.co_freevars):
                    raise NotSwappable
                swaps.append((function, after))
        return swaps


class Patch:
    """Functions with the code they are to run instead."""

    def __init__(self, swaps: list[tuple[FunctionType, CodeType]]) -> None:
        self._swaps = swaps

    def apply(self) -> None:
        for function, code in self._swaps:
            function.__code__ = code

    @property
    def codes(self) -> list[CodeType]:
        return [code for _, code in self._swaps]


def children(code: CodeType) -> list[CodeType]:
    return [const for const in code.co_consts if isinstance(const, CodeType)]


def pairs(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Code objects of both versions that are each other's counterpart: same name, same turn."""
    waiting: dict[str, list[CodeType]] = {}
    for child in children(new):
        waiting.setdefault(child.co_name, []).append(child)
    for child in children(old):
        counterpart = waiting.get(child.co_name)
        if counterpart:
            match = counterpart.pop(0)
            yield child, match
            yield from pairs(child, match)


def fingerprint(code: CodeType, nested: bool = True) -> Any:
    """What a code object does, without where its lines are.

    With `nested=False` the code of functions inside is left out (what runs at import remains).
    """
    consts: list[Any] = []
    for const in code.co_consts:
        if isinstance(const, CodeType):
            inner = nested or not const.co_flags & _OPTIMIZED
            consts.append(fingerprint(const, nested) if inner else const.co_name)
        else:
            consts.append((type(const).__name__, repr(const)))
    table: bytes | None = getattr(code, "co_exceptiontable", None)
    return (
        code.co_name,
        code.co_code,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_argcount,
        code.co_kwonlyargcount,
        code.co_flags,
        tuple(consts),
        table,
    )
