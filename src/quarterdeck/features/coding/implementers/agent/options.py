"""What a mission may say about the built-in agent."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from quarterdeck.features.coding.implementers.options import Argv, Options


class Mode(StrEnum):
    """How the model is asked for its work."""

    AUTO = "auto"
    """Tools where the model can call them, else whole files."""
    TOOLS = "tools"
    WHOLE_FILE = "whole_file"
    """Answers under a grammar: whole files as JSON, for models that cannot call tools."""


class AgentOptions(Options):
    """Which model works how, and within which budget.

    `model` is PROVIDER/NAME (None: the installation's own choice). `commands` are further commands
    the model may run, by name; it chooses the name only and cannot add arguments. `repair` offers
    the model-free repair as a tool. `steps_max` counts model requests, `tokens_max` all tokens of
    the run, `answer_tokens_max` those of one answer.
    """

    model: Annotated[str, Field(max_length=300)] | None = None
    mode: Mode = Mode.AUTO
    steps_max: Annotated[int, Field(ge=1, le=200)] = 40
    tokens_max: Annotated[int, Field(ge=1_000, le=20_000_000)] = 1_000_000
    answer_tokens_max: Annotated[int, Field(ge=64, le=65_536)] = 8_192
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    repair: bool = True
    commands: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")], Argv], Field(max_length=16)
    ] = Field(default_factory=dict)
