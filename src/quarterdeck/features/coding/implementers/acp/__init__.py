"""Any agent that speaks the Agent Client Protocol (version 1) as an implementer."""

from __future__ import annotations

from quarterdeck.features.coding.implementers.acp.implementer import AcpImplementer
from quarterdeck.features.coding.implementers.acp.options import AcpOptions

__all__ = ["AcpImplementer", "AcpOptions"]
