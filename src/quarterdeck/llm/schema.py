"""Whether a JSON value fits a JSON schema: the bounded subset that grammars for models understand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.events import Json

DEPTH_MAX = 32
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_ANNOTATIONS = frozenset({"default", "description", "examples", "format", "title"})
_KNOWN = _ANNOTATIONS | {
    "$defs",
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "enum",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
}

Schema = Mapping[str, Any]


def problem_with(value: Json, schema: Schema) -> str | None:
    """None when `value` fits `schema`, else one sentence that says where it does not and why.

    Raises:
        InvalidInput: when the schema uses a keyword that is not checked here.
    """
    try:
        _Check(schema).value(value, schema, "answer", 0)
    except _Misfit as misfit:
        return str(misfit)
    return None


class _Misfit(Exception):
    """The value does not fit; the message says where and why."""


class _Check:
    """One walk over a value and its schema."""

    def __init__(self, root: Schema) -> None:
        self._defs: Mapping[str, Schema] = root.get("$defs", {})

    def value(self, value: Json, schema: Schema, where: str, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise _Misfit(f"{where}: it nests deeper than {DEPTH_MAX} levels.")
        unknown = set(schema) - _KNOWN
        if unknown:
            raise InvalidInput(
                f"The keyword {min(unknown)!r} is not supported.", where=f"schema for {where}"
            )
        if "$ref" in schema:
            self.value(value, self._definition(schema["$ref"]), where, depth + 1)
        if "anyOf" in schema:
            self._any_of(value, schema["anyOf"], where, depth)
        self._kind(value, schema, where)
        if isinstance(value, str):
            _check_text(value, schema, where)
        elif isinstance(value, dict):
            self._object(value, schema, where, depth)
        elif isinstance(value, list):
            self._array(value, schema, where, depth)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            _check_range(value, schema, where, "minimum", "maximum", "it")

    def _definition(self, reference: str) -> Schema:
        name = reference.removeprefix("#/$defs/")
        if name not in self._defs:
            raise InvalidInput(f"{reference!r} is not defined.", where="schema", hint="Use $defs.")
        return self._defs[name]

    def _any_of(self, value: Json, choices: list[Schema], where: str, depth: int) -> None:
        misfits: list[str] = []
        for choice in choices:
            try:
                self.value(value, choice, where, depth + 1)
            except _Misfit as misfit:
                misfits.append(str(misfit))
            else:
                return
        # The choice that fits furthest in is the one that was meant.
        raise _Misfit(max(misfits, key=lambda misfit: len(misfit.partition(": ")[0])))

    def _kind(self, value: Json, schema: Schema, where: str) -> None:
        kinds = schema.get("type")
        if kinds is not None:
            names = [kinds] if isinstance(kinds, str) else kinds
            if not any(_is_a(value, name) for name in names):
                raise _Misfit(f"{where}: it is {_named(value)}, not {' or '.join(names)}.")
        if "enum" in schema and not any(_same(value, allowed) for allowed in schema["enum"]):
            allowed = ", ".join(map(repr, schema["enum"]))
            raise _Misfit(f"{where}: {_shown(value)} is not one of {allowed}.")
        if "const" in schema and not _same(value, schema["const"]):
            raise _Misfit(f"{where}: {_shown(value)} is not {schema['const']!r}.")

    def _object(self, value: dict[str, Json], schema: Schema, where: str, depth: int) -> None:
        properties: Mapping[str, Schema] = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                raise _Misfit(f"{where}: the field {name!r} is missing.")
        rest = schema.get("additionalProperties", True)
        for name, item in value.items():
            if name in properties:
                self.value(item, properties[name], f"{where}.{name}", depth + 1)
            elif rest is False:
                raise _Misfit(f"{where}: the field {name!r} is not asked for.")
            elif isinstance(rest, Mapping):
                self.value(item, rest, f"{where}.{name}", depth + 1)

    def _array(self, value: list[Json], schema: Schema, where: str, depth: int) -> None:
        _check_range(len(value), schema, where, "minItems", "maxItems", "the number of items")
        if "items" in schema:
            for index, item in enumerate(value):
                self.value(item, schema["items"], f"{where}[{index}]", depth + 1)


def _is_a(value: Json, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, ()))


def _same(value: Json, other: Json) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _named(value: Json) -> str:
    return next(name for name in _TYPES if _is_a(value, name))


def _shown(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_text(value: str, schema: Schema, where: str) -> None:
    _check_range(len(value), schema, where, "minLength", "maxLength", "the number of characters")
    pattern = schema.get("pattern")
    if pattern is not None and not re.search(pattern, value):
        raise _Misfit(f"{where}: {_shown(value)} does not match {pattern!r}.")


def _check_range(number: float, schema: Schema, where: str, low: str, high: str, what: str) -> None:
    if low in schema and number < schema[low]:
        raise _Misfit(f"{where}: {what} is {number}, less than {schema[low]}.")
    if high in schema and number > schema[high]:
        raise _Misfit(f"{where}: {what} is {number}, more than {schema[high]}.")
