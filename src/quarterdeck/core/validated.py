"""Turns outside data into values, with errors that name the field and what would be right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from quarterdeck.core.errors import InvalidInput, TooLarge

Model = TypeVar("Model", bound=BaseModel)

PROBLEMS_SHOWN = 3


def validated(model: type[Model], data: Mapping[str, Any], *, where: str = "") -> Model:
    """The model made from `data`.

    Raises:
        InvalidInput: naming up to three fields that do not fit, and why.
    """
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        raise invalid(error, where=where) from None


def invalid(error: ValidationError, *, where: str = "") -> InvalidInput:
    """The error a person is shown for a failed validation."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    fields = [_field(problem["loc"]) for problem in problems]
    said = [
        f"{field}: {problem['msg']}"
        for field, problem in zip(fields, problems[:PROBLEMS_SHOWN], strict=False)
    ]
    more = len(problems) - PROBLEMS_SHOWN
    if more > 0:
        said.append(f"and {more} more")
    place = ".".join(part for part in (where, fields[0]) if part)
    return InvalidInput(f"{'; '.join(said)}.", where=place or None)


def check_json(value: Any, *, where: str, bytes_max: int, depth_max: int, size_bytes: int) -> None:
    """Raise unless a JSON value keeps within its limits and holds only finite numbers.

    Raises:
        TooLarge: more bytes than allowed.
        InvalidInput: nested too deeply, or a number that JSON does not have.
    """
    if size_bytes > bytes_max:
        raise TooLarge(f"It has {size_bytes} bytes; {bytes_max} is the limit.", where=where)
    frontier: list[tuple[Any, int]] = [(value, 1)]
    while frontier:
        item, depth = frontier.pop()
        if depth > depth_max:
            raise InvalidInput(f"It nests deeper than {depth_max} levels.", where=where)
        if isinstance(item, float) and not math.isfinite(item):
            raise InvalidInput("It holds a number that is not finite.", where=where)
        if isinstance(item, Mapping):
            frontier.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list):
            frontier.extend((child, depth + 1) for child in item)


def _field(location: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in location)
