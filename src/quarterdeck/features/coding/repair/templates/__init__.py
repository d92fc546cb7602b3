"""The repair templates: one family per file, each a lazy generator of edits for one statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates import comparison
from quarterdeck.features.coding.repair.templates.site import Site


@dataclass(frozen=True, slots=True)
class Family:
    """A named kind of edit with the greatest prior it gives."""

    name: str
    prior_max: float
    propose: Callable[[Site], Iterator[Edit]]


FAMILIES: tuple[Family, ...] = tuple(
    Family(module.FAMILY, module.PRIOR_MAX, module.propose) for module in (comparison,)
)
