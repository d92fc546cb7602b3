"""What a mission may say about an agent that speaks the Agent Client Protocol."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from quarterdeck.features.coding.implementers.options import Argv, Env, Options

PORTS_MAX = 4


class AcpOptions(Options):
    """How the agent is started and what it may ask for.

    `argv` is started in the sandbox with `env` and nothing else of the server's environment.
    `idle_timeout_s` ends an agent that says nothing for so long. `loopback_ports` are those of
    local model servers it may reach; the installation says which ones can be had.
    `allow_commands` answers permission requests to run (confined) commands.
    """

    argv: Argv
    env: Env = Field(default_factory=dict)
    idle_timeout_s: Annotated[float, Field(ge=0.1, le=3_600)] = 300.0
    start_timeout_s: Annotated[float, Field(ge=0.1, le=600)] = 90.0
    loopback_ports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65_535)], ...], Field(max_length=PORTS_MAX)
    ] = ()
    allow_commands: bool = True
