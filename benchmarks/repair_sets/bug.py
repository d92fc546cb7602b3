"""One bug to repair, with what is needed to judge the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bug:
    """A library tree with one wrong place.

    `original` is the tree the bug was put into, `file` the one file that differs, `text` its wrong
    text. `hidden` tests are kept from the repairer; `passing` are those that pass when it is right.
    """

    name: str
    kind: str
    original: Path
    file: str
    text: str
    failing: tuple[str, ...]
    hidden: tuple[str, ...]
    passing: Mapping[str, bool]

    @property
    def right_text(self) -> str:
        return (self.original / self.file).read_bytes().decode()
