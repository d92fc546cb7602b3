"""How a model is best asked for its work. Pure."""

from __future__ import annotations

import re

from quarterdeck.features.coding.implementers.agent.options import Mode

TOOLS_FROM_B = 14.0
"""Billions of parameters from which a local model is trusted to call tools. A judgement: we measured
one model of 0.135 billion, which gave nothing usable with tools, and none near the bound."""
_SIZE = re.compile(r"(?<![0-9.])(\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE)


def mode_for(wanted: Mode, name: str, *, local: bool) -> Mode:
    """The mode to use: the one that is wanted, else by the model's trust tier.

    A model of a cloud provider calls tools. A local one does when its name says that it is large;
    otherwise it answers whole files under a grammar, which any server of ours enforces.
    """
    if wanted is not Mode.AUTO:
        return wanted
    if not local:
        return Mode.TOOLS
    size_b = max((float(size) for size in _SIZE.findall(name)), default=0.0)
    return Mode.TOOLS if size_b >= TOOLS_FROM_B else Mode.WHOLE_FILE
