"""What an exception tells a repairer: frames, the missing name and names that come close."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

_TEXT_MAX = 400
_FRAMES_MAX = 40
_LOCALS_MAX = 40
_CLOSE_MAX = 6
_MISSING = (
    re.compile(r"name '(\w+)' is not defined"),
    re.compile(r"has no attribute '(\w+)'"),
    re.compile(r"unexpected keyword argument '(\w+)'"),
    re.compile(r"cannot import name '(\w+)'"),
    re.compile(r"local variable '(\w+)'"),
)

if TYPE_CHECKING:
    Place = Callable[[str], str | None]  # relative to the root; None for what lies elsewhere


def describe(error: BaseException, place: Place) -> dict[str, Any]:
    """The error as JSON: `type`, `bases`, `text`, `frames` (outermost first), `missing`, `close`.

    `frames` hold project files only, as [file, line, function]; those of causes come first.
    `locals` are type names in the innermost project frame.
    """
    frames: list[list[Any]] = []
    innermost: FrameType | None = None
    for cause in _chain(error):
        for frame, line in _walk(cause.__traceback__):
            file = place(frame.f_code.co_filename)
            if file is not None:
                frames.append([file, line, frame.f_code.co_name])
                innermost = frame
    text = _text_of(error)
    missing = _missing_name(error, text)
    return {
        "type": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__[1:-2]],
        "text": text,
        "frames": frames[-_FRAMES_MAX:],
        "missing": missing,
        "close": _close_names(error, missing, innermost) if missing else [],
        "locals": _local_types(innermost),
    }


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain and len(chain) < 5:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain[::-1]


def _walk(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:_TEXT_MAX]
    except Exception as problem:  # noqa: BLE001 - the target's own __str__ may do anything
        return f"(no text: {type(problem).__name__})"


def _missing_name(error: BaseException, text: str) -> str | None:
    for pattern in _MISSING:
        found = pattern.search(text)
        if found:
            return found.group(1)
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return error.args[0][:80]
    return None


def _close_names(error: BaseException, missing: str, frame: FrameType | None) -> list[str]:
    known: list[str] = []
    if isinstance(error, AttributeError):
        known = _names_of(getattr(error, "obj", None))
    elif frame is not None:
        known = [*frame.f_locals, *frame.f_globals]
    return difflib.get_close_matches(missing, known, _CLOSE_MAX, 0.6)


def _names_of(thing: Any) -> list[str]:
    if thing is None:
        return []
    try:
        return [str(name) for name in dir(thing)]
    except Exception:  # noqa: BLE001 - the target's own __dir__ may do anything
        return []


def _local_types(frame: FrameType | None) -> dict[str, str]:
    if frame is None:
        return {}
    names = [name for name in list(frame.f_locals) if not name.startswith("@")][:_LOCALS_MAX]
    return {name: type(frame.f_locals[name]).__name__ for name in names}
