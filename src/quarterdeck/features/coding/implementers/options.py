"""Reads an implementer's options: validated, bounded, and refused in words that help."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from quarterdeck.core.errors import InvalidInput

WHERE = "implementer_options"
ARGUMENTS_MAX = 64
ARGUMENT_MAX = 4_096
ENV_MAX = 64
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def _refuse_a_string(value: Any) -> Any:
    if isinstance(value, str):
        words = ", ".join(f'"{word}"' for word in value.split()[:4])
        # A ValueError, because pydantic turns only these into its own errors.
        message = f"give the command as a list of arguments, such as [{words}], not as text"
        raise ValueError(message)  # noqa: TRY004 - see above
    return value


def _check_env(env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not _ENV_NAME.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is not the name of an environment variable")
        if "\x00" in value or len(value) > ARGUMENT_MAX:
            raise ValueError(f"the value of {name} is too long or holds a NUL")
    return env


Argument: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=ARGUMENT_MAX, pattern=r"^[^\x00]*$")
]
Argv: TypeAlias = Annotated[
    tuple[Argument, ...],
    BeforeValidator(_refuse_a_string),
    Field(min_length=1, max_length=ARGUMENTS_MAX),
]
"""A command as a list of arguments; text is refused, because splitting it needs a shell."""
Env: TypeAlias = Annotated[dict[str, str], Field(max_length=ENV_MAX), AfterValidator(_check_env)]


class Options(BaseModel):
    """What every implementer's options have in common: they never change, and nothing is extra."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Given = TypeVar("Given", bound=Options)


def read_options(kind: type[Given], options: Mapping[str, Any]) -> Given:
    """The options as `kind`.

    Raises:
        InvalidInput: naming the first option that does not fit, and what would.
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in (WHERE, *first["loc"]))
        known = ", ".join(kind.model_fields)
        raise InvalidInput(
            f"{first['msg']}.", where=place, hint=f"The options are: {known}."
        ) from None
