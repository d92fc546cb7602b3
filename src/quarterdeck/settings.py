"""Every setting of the product, with its help; read by the application and the command line alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.mission import TaskKind
from quarterdeck.core.validated import validated

ENVIRONMENT = {
    "QUARTERDECK_DATA": "data_dir",
    "QUARTERDECK_DATABASE": "database",
    "QUARTERDECK_HOST": "host",
    "QUARTERDECK_PORT": "port",
}
"""Environment variables and the settings they give; they win over the settings file."""
FILE_BYTES_MAX = 256 * 1024


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelServer(_Section):
    """One place where language models answer."""

    name: str = Field(description="What model references begin with, as in `NAME/model:tag`.")
    kind: Literal["ollama", "openai_compatible", "openai", "google", "anthropic", "bundled"] = (
        Field(description="What it speaks.")
    )
    base_url: str | None = Field(None, description="Its address; Ollama's without `/v1`.")
    api_key_env: str | None = Field(
        None, description="The environment variable that holds its key; keys never stand in files."
    )
    own: bool = Field(
        False, description="A server with a public address that is yours all the same."
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(2, description="Calls at once.")
    host_rate: Decimal | None = Field(
        None, description="The price of an hour of its machine, in US dollars, for local models."
    )


class MentorSection(_Section):
    """Who advises, and how they are asked."""

    table: dict[TaskKind, tuple[str, ...]] | None = Field(
        None, description="The models asked for each kind of task; left out: the shipped table."
    )
    cloud_allowed: bool = Field(False, description="Whether a mentor may be a cloud model.")
    samples: Annotated[int, Field(ge=1, le=5)] | None = Field(
        None, description="Answers per mentor; left out: 2, and 1 for the bundled model."
    )
    mentor_timeout_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        120.0, description="How long one mentor may take, with all its samples."
    )
    plan_timeout_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        180.0, description="How long one draft of the plan may take."
    )


class CodingSection(_Section):
    """How changes are made and proved."""

    rounds_max: Annotated[int, Field(ge=1, le=10)] = Field(
        3, description="Attempts to implement before a person is asked."
    )
    implement_budget_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        60.0, description="The time of one attempt, unless the mission's options say otherwise."
    )
    agent_model: str | None = Field(
        None, description="The model of the built-in coding agent, as PROVIDER/NAME."
    )
    cloud_allowed: bool = Field(False, description="Whether that model may be one in the cloud.")
    readable_paths: Annotated[tuple[Path, ...], Field(max_length=64)] = Field(
        (), description="Places outside of the sandbox that agents and tools may read; absolute."
    )
    agent_ports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65_535)], ...], Field(max_length=16)
    ] = Field(
        (), description="Loopback ports of model servers that a mission may open to its agent."
    )
    allow_weak_confinement: bool = Field(
        False, description="Run agents and tests where the kernel cannot confine them."
    )

    @field_validator("readable_paths")
    @classmethod
    def _absolute(cls, places: tuple[Path, ...]) -> tuple[Path, ...]:
        relative = next((place for place in places if not place.is_absolute()), None)
        if relative is not None:
            raise ValueError(f"{str(relative)!r} is not an absolute path")
        return places


class ObjectivesSection(_Section):
    """How objectives are looked into; the ceilings hold for each mission, whatever it states."""

    search_url: str | None = Field(
        None, description="A SearxNG-compatible search engine; left out: sites are read directly."
    )
    internal_endpoints: dict[str, tuple[str, ...]] = Field(
        default_factory=dict[str, tuple[str, ...]],
        description="Workspace → the ADDRESS:PORT pairs inside the network that it may reach.",
    )
    requests_max: Annotated[int, Field(ge=1, le=10_000)] = Field(200, description="Requests.")
    size_bytes_max: Annotated[int, Field(ge=1024, le=2**30)] = Field(
        64 * 1024 * 1024, description="Bytes received."
    )
    seconds_max: Annotated[float, Field(gt=0, le=540)] = Field(120.0, description="Seconds.")


class Settings(_Section):
    """One installation's settings; a change needs a restart."""

    data_dir: Path = Field(description="Where everything is stored.")
    database: str | None = Field(
        None, description="A `postgresql://` address; left out: SQLite in the data directory."
    )
    host: str = Field("127.0.0.1", description="The address to listen on; loopback only.")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        8420, description="The port to listen on; 0 takes a free one."
    )
    workspace: str = Field("default", description="The workspace of this installation.")
    model_servers: tuple[ModelServer, ...] = Field(
        (
            ModelServer(name="ollama", kind="ollama"),
            ModelServer(name="bundled", kind="bundled"),
        ),
        description="Where models are looked for.",
    )
    mentors: MentorSection = Field(MentorSection(), description="The mentors.")
    coding: CodingSection = Field(CodingSection(), description="Changing code.")
    objectives: ObjectivesSection = Field(
        ObjectivesSection(), description="Looking things up on allowed sites."
    )

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        try:
            loopback = ip_address(host).is_loopback
        except ValueError:
            loopback = host == "localhost"
        if not loopback:
            raise ValueError("only loopback addresses are served until people can sign in")
        return host


def default_data_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_DATA_HOME/quarterdeck`, by default below the home directory."""
    base = environment.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "quarterdeck"


def load_settings(
    given: Mapping[str, Any] | None = None, *, environment: Mapping[str, str] = os.environ
) -> Settings:
    """The settings from, in rising order: defaults, `DATA/settings.yaml`, environment, `given`.

    Raises:
        InvalidInput: naming the file or variable, the field, and what would be right.
    """
    from_environment = {
        field: environment[name] for name, field in ENVIRONMENT.items() if environment.get(name)
    }
    stated = {k: v for k, v in (given or {}).items() if v is not None}
    data_dir = Path(
        stated.get("data_dir") or from_environment.get("data_dir") or default_data_dir(environment)
    ).expanduser()
    values = {**_read_file(data_dir / "settings.yaml"), **from_environment, **stated}
    return validated(Settings, {**values, "data_dir": data_dir.absolute()}, where="settings")


def _read_file(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            text = stream.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidInput(f"It cannot be read: {error.strerror}.", where=str(file)) from None
    if len(text) > FILE_BYTES_MAX:
        raise InvalidInput(f"It is larger than {FILE_BYTES_MAX} bytes.", where=str(file))
    try:
        found: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"It is not YAML: {error}.", where=str(file)) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInput("It does not hold settings by name.", where=str(file))
    return found
