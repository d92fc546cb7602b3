"""Artifact: bytes by hash, with origin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Artifact:
    """A reference to stored bytes.

    `sha256` is the lower-case hex digest and the address; `name` is what a person calls it;
    `path` is its place below `storage/memory/learning/` when it belongs to the documented layout
    (DOC-2), else None. `size` is in bytes.
    """

    sha256: str
    name: str
    media_type: str
    size: int
    path: str | None = None

    def as_json(self) -> dict[str, str | int | None]:
        return {
            "sha256": self.sha256,
            "name": self.name,
            "media_type": self.media_type,
            "size": self.size,
            "path": self.path,
        }
