"""A brief in a JSON file: recognised by its markers, read without trusting it (ORC-2)."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.validated import validated
from quarterdeck.engine.submit import Submission

SIZE_MAX = 1024 * 1024
MARKERS = frozenset(
    {"mission_id", "objectives", "constraints", "auto_orchestrate", "auto_implement"}
)
_TAKEN = frozenset(Submission.model_fields) - {"brief", "hold", "parent"}
_TEXTS = ("brief", "description", "title")


@dataclass(frozen=True, slots=True)
class BriefFile:
    """A recognised brief; `ignored` are fields that mean nothing to us."""

    submission: Submission
    ignored: tuple[str, ...]


def read_untrusted(file: Path) -> bytes:
    """The bytes of a plain, small file; never follows a link, never waits for a writer.

    Raises:
        InvalidInput: for anything else, saying what it is.
        FileNotFoundError: when it is gone.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(file, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "a symbolic link" if file.is_symlink() else f"not readable ({error.strerror})"
        raise InvalidInput(f"It is {why}; only plain files are read.") from None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise InvalidInput("It is not a plain file.")
        if about.st_size > SIZE_MAX:
            raise InvalidInput(f"It has {about.st_size} bytes; {SIZE_MAX} is the limit.")
        with os.fdopen(fd, "rb", closefd=False) as stream:
            return stream.read(SIZE_MAX)
    finally:
        os.close(fd)


def parse_brief(content: bytes) -> BriefFile | None:
    """The brief that a file's content is, or None for JSON that carries no markers.

    Raises:
        InvalidInput: naming what does not fit.
    """
    try:
        found: Any = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput(f"It is not JSON: {error}.") from None
    if not isinstance(found, dict) or not _carries_markers(found):
        return None
    hold = not _flag(found, "auto_orchestrate")
    _flag(found, "auto_implement")
    fields = {name: found[name] for name in _TAKEN if name in found}
    submission = validated(Submission, {**fields, "brief": _text(found), "hold": hold})
    known = _TAKEN | MARKERS | set(_TEXTS)
    return BriefFile(submission, tuple(sorted(set(map(str, found)) - known)))


def _carries_markers(found: Mapping[str, Any]) -> bool:
    """An explicit `auto_orchestrate`, or at least three of the markers together."""
    return "auto_orchestrate" in found or len(MARKERS & set(found)) >= 3


def _flag(found: Mapping[str, Any], name: str) -> bool:
    value = found.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"{value!r} is not true or false.", where=name)
    return value


def _text(found: Mapping[str, Any]) -> str:
    parts = [found[name] for name in _TEXTS if isinstance(found.get(name), str)][:1]
    objectives = found.get("objectives", [])
    if isinstance(objectives, str):
        objectives = [objectives]
    if not isinstance(objectives, list) or not all(isinstance(o, str) for o in objectives):
        raise InvalidInput("They are a list of texts.", where="objectives")
    parts.extend(f"- {objective}" for objective in objectives)
    if not parts:
        raise InvalidInput(
            "It says nothing to do.", where="objectives", hint="List what is wanted."
        )
    return "\n".join(parts)
