"""The built-in coding agent: any model of the gateway, with tools that reach the sandbox only."""

from __future__ import annotations

from quarterdeck.features.coding.implementers.agent.implementer import AgentImplementer
from quarterdeck.features.coding.implementers.agent.options import AgentOptions, Mode

__all__ = ["AgentImplementer", "AgentOptions", "Mode"]
