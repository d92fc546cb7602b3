"""The repair templates: one family per file, each a lazy generator of edits for one statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.templates import (
    arguments,
    arithmetic,
    attributes,
    blocks,
    booleans,
    comparison,
    constants,
    donors,
    guards,
    handlers,
    imports,
    loops,
    names,
    offset,
    regexes,
    removals,
    returns,
    slices,
    swaps,
    synonyms,
    wraps,
)
from quarterdeck.features.coding.repair.templates.site import Site


@dataclass(frozen=True, slots=True)
class Family:
    """A named kind of edit with the greatest prior it gives."""

    name: str
    prior_max: float
    edits: Callable[[Site], Iterator[Edit]]

    def propose(self, site: Site) -> Iterator[Edit]:
        """The family's edits at a place, tagged with its name."""
        for edit in self.edits(site):
            if not site.in_format_string(edit) or site.still_parses(edit):
                yield replace(edit, family=self.name)


FAMILIES: tuple[Family, ...] = tuple(
    Family(module.__name__.rpartition(".")[2], module.PRIOR_MAX, module.propose)
    for module in (
        comparison, offset, names, donors, slices, constants, swaps, arithmetic, wraps, synonyms,
        guards, returns, booleans, blocks, loops, attributes, arguments, handlers, imports, regexes,
        removals,
    )
)  # fmt: skip
