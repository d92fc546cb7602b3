"""What a scripted model server answers: rules as data, validated, and which of them applies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.core.events import Json

FILE_BYTES_MAX = 1024 * 1024
_SHOWN_ERRORS = 3


class ToolCall(BaseModel):
    """A tool the scripted model wants to be called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class ErrorReply(BaseModel):
    """An HTTP error (or redirect) in place of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Annotated[int, Field(ge=300, le=599)] = 500
    message: str = "scripted error"
    headers: dict[str, str] = Field(default_factory=dict)


class Rule(BaseModel):
    """When a request matches, what is answered.

    It matches when the regular expressions `model` and `match` are found in the model's name and in
    the text of `where`: the `last` message, `any` of them, or the `system` message; and when this
    is the `nth` request (from 1) that got so far. The first rule that matches answers.

    The answer is `text`, or `json` as text, with `tool_calls`. `delay_s` passes before the first
    piece, `piece_delay_s` between pieces of `piece_words` words. Faults: an `error` status; `hang`
    (never answers; with `after` pieces first); `drop` (closes the connection after `after`
    pieces); `endless` (says the text for ever); `garbage` (sends these bytes instead).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    model: str = ""
    match: str = ""
    where: Literal["last", "any", "system"] = "last"
    nth: Annotated[int, Field(ge=1)] | None = None

    text: str = ""
    json_value: Annotated[Any, Field(alias="json")] = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    delay_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    piece_delay_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    piece_words: Annotated[int, Field(ge=1)] = 1
    logprob: Annotated[float, Field(le=0)] = -0.1
    report_usage: bool = True
    timings: dict[str, float] | None = None

    error: ErrorReply | None = None
    hang: bool = False
    drop: bool = False
    endless: bool = False
    after: Annotated[int, Field(ge=0)] = 0
    garbage: str | None = None

    @field_validator("model", "match")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return pattern


class Script(BaseModel):
    """The models a scripted server offers and its rules, first match first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = ("scripted",)
    rules: tuple[Rule, ...] = ()
    ollama: bool = True
    dimensions: Annotated[int, Field(ge=1, le=4096)] = 32


def script_from(value: Script | Mapping[str, Json] | Sequence[Rule | Mapping[str, Json]]) -> Script:
    """The script that `value` describes; a bare sequence is its rules.

    Raises:
        InvalidInput: naming the field that does not fit.
    """
    if isinstance(value, Script):
        return value
    fields = value if isinstance(value, Mapping) else {"rules": list(value)}
    try:
        return Script.model_validate(fields)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:_SHOWN_ERRORS]
        ]
        raise InvalidInput("; ".join(problems) + ".", where="script") from None


def script_in(path: Path) -> Script:
    """The script in a YAML or JSON file.

    Raises:
        InvalidInput: when the file does not hold one; TooLarge: when it is over 1 MiB.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"It cannot be read: {error.strerror}.", where=str(path)) from None
    if len(content) > FILE_BYTES_MAX:
        raise TooLarge(f"It is over {FILE_BYTES_MAX} bytes.", where=str(path))
    try:
        value = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"It is not YAML: {' '.join(str(error).split())[:200]}.", where=str(path)
        ) from None
    if not isinstance(value, (dict, list)):
        raise InvalidInput("It holds neither a script nor a list of rules.", where=str(path))
    return script_from(value)


class Chooser:
    """Picks the rule for each request and counts, so that `nth` means what it says."""

    def __init__(self, script: Script) -> None:
        self._rules = script.rules
        self._hits = [0] * len(script.rules)

    def choose(self, model: str, messages: Sequence[Mapping[str, Json]]) -> Rule | None:
        """The first rule that matches; None when none does."""
        for index, rule in enumerate(self._rules):
            if re.search(rule.model, model) and re.search(rule.match, _text(rule.where, messages)):
                self._hits[index] += 1
                if rule.nth is None or rule.nth == self._hits[index]:
                    return rule
        return None


def _text(where: str, messages: Sequence[Mapping[str, Json]]) -> str:
    if where == "last":
        return content_of(messages[-1]) if messages else ""
    wanted = [m for m in messages if where == "any" or m.get("role") == "system"]
    return "\n".join(map(content_of, wanted))


def content_of(message: Mapping[str, Json]) -> str:
    """The text of a chat message, whose content may also come as a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""
