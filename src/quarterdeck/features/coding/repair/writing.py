"""Writing a patched file so that it is either the old one or the new one, never half of it."""

from __future__ import annotations

import os
from pathlib import Path

from quarterdeck.core.errors import Conflict


def write_atomically(path: Path, text: str, *, before: str) -> None:
    """Replace the file's text, keeping its mode; fsync before the rename.

    Raises Conflict, and writes nothing, unless the file still holds the text `before`.
    """
    if path.read_bytes() != before.encode():
        raise Conflict("The file was changed while it was being repaired.", where=str(path))
    beside = path.with_name(f".{path.name}.quarterdeck")
    with beside.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    beside.chmod(path.stat().st_mode)
    beside.replace(path)
