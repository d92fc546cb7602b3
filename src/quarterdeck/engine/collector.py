"""Python's garbage collector, set for a process that runs an engine for months.

Left alone it walks every object of the product again and again while missions come and go: measured
as a fifth of the processor time of a step. What was made up to now stays for good and is never
walked again, and the young are looked at less often.
"""

from __future__ import annotations

import gc

YOUNG_MAX = 50_000
"""New objects, less those that are gone, that set off a collection of the young."""


def calm_collector() -> None:
    """Call once, when everything is wired; only a process of our own may call it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, 20, 20)
