"""An edit of one place of one file, and how edits become texts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters `start`..`end` of a file by `text`.

    `prior` (0..1] says how plausible this kind of edit is before any test has run. `removal` marks
    edits that take behaviour away: they are believed less. `family` and `rule` name the template.
    """

    path: str
    start: int
    end: int
    text: str
    rule: str
    prior: float
    removal: bool = False
    family: str = ""

    def __post_init__(self) -> None:
        assert 0 <= self.start <= self.end, "an edit's span lies in its file"
        assert 0 < self.prior <= 1, "a prior is a share"

    def apply(self, source: str) -> str:
        """The file's text after the edit."""
        assert self.end <= len(source), "an edit's span lies in its file"
        return source[: self.start] + self.text + source[self.end :]
