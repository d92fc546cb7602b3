"""What a UI message stream may hold, and in which order: a strict check of our own output.

Stricter than the client: unknown fields are wrong here, and a part that is left open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.events import Json
from quarterdeck.llm.chunks import Chunk

Test = Callable[[Json], bool]


def _text(value: Json) -> bool:
    return isinstance(value, str)


def _flag(value: Json) -> bool:
    return isinstance(value, bool)


def _object(value: Json) -> bool:
    return isinstance(value, Mapping)


def _array(value: Json) -> bool:
    return isinstance(value, list)


def _any(_value: Json) -> bool:
    return True


def _one_of(*words: str) -> Test:
    return lambda value: value in words


_REASON = _one_of("stop", "length", "content-filter", "tool-calls", "error", "interrupted", "other")
_PROVIDER: dict[str, Test] = {"providerMetadata": _object}
_PART: dict[str, Test] = {"id": _text}
_CALL: dict[str, Test] = {"toolCallId": _text}
_NAMED: dict[str, Test] = {**_CALL, "toolName": _text}
_ABOUT: dict[str, Test] = {
    **_PROVIDER,
    "providerExecuted": _flag,
    "toolMetadata": _object,
    "dynamic": _flag,
}
_TITLED: dict[str, Test] = {**_ABOUT, "title": _text}
_MESSAGE: dict[str, Test] = {"messageMetadata": _any}

FIELDS: dict[str, tuple[dict[str, Test], dict[str, Test]]] = {
    "start": ({}, {"messageId": _text, **_MESSAGE}),
    "start-step": ({}, {}),
    "finish-step": ({}, {}),
    "reset-step": ({}, {}),
    "text-start": (_PART, _PROVIDER),
    "text-delta": ({**_PART, "delta": _text}, _PROVIDER),
    "text-end": (_PART, {**_PROVIDER, "citations": _array}),
    "reasoning-start": (_PART, _PROVIDER),
    "reasoning-delta": ({**_PART, "delta": _text}, _PROVIDER),
    "reasoning-end": (_PART, _PROVIDER),
    "tool-input-start": (_NAMED, {**_TITLED, "inputEncoding": _one_of("json", "text")}),
    "tool-input-delta": ({**_CALL, "inputTextDelta": _text}, {}),
    "tool-input-available": ({**_NAMED, "input": _any}, _TITLED),
    "tool-input-error": ({**_NAMED, "input": _any, "errorText": _text}, _TITLED),
    "tool-approval-request": (
        {**_CALL, "approvalId": _text},
        {
            "reason": _text,
            "isAutomatic": _flag,
            "signature": _text,
            "approvalDescriptor": _any,
            "inputSchemaInput": _any,
        },
    ),
    "tool-approval-response": (
        {"approvalId": _text, "approved": _flag},
        {"reason": _text, "providerExecuted": _flag, **_PROVIDER},
    ),
    "tool-output-available": ({**_CALL, "output": _any}, {**_ABOUT, "preliminary": _flag}),
    "tool-output-error": ({**_CALL, "errorText": _text}, _ABOUT),
    "tool-output-denied": (_CALL, {}),
    "source-url": ({"sourceId": _text, "url": _text}, {"title": _text, **_PROVIDER}),
    "source-document": (
        {"sourceId": _text, "mediaType": _text, "title": _text},
        {"filename": _text, **_PROVIDER},
    ),
    "file": ({"url": _text, "mediaType": _text}, _PROVIDER),
    "reasoning-file": ({"url": _text, "mediaType": _text}, _PROVIDER),
    "custom": ({"kind": lambda value: _text(value) and "." in value}, _PROVIDER),
    "steering-message": ({**_PART, "parts": _array}, {}),
    "message-metadata": (_MESSAGE, {}),
    "error": ({"errorText": _text}, {}),
    "abort": ({}, {"reason": _text}),
    "finish": ({}, {"finishReason": _REASON, **_MESSAGE}),
}
"""Each type with the fields it must have and those it may have (`ai` 7, ui-message-chunks)."""

_DATA: tuple[dict[str, Test], dict[str, Test]] = ({"data": _any}, {"id": _text, "transient": _flag})


class BrokenStream(QuarterdeckError):
    """A stream of ours breaks a rule of the protocol."""

    title = "Broken stream"


def problem_of(chunk: Chunk) -> str | None:
    """What is wrong with the shape of one chunk, as a sentence; None when nothing is."""
    kind = chunk.get("type")
    if not isinstance(kind, str):
        return "It has no type."
    if kind.startswith("data-") and len(kind) > len("data-"):
        needed, allowed = _DATA
    elif kind in FIELDS:
        needed, allowed = FIELDS[kind]
    else:
        return f"There is no type {kind[:60]!r}."
    missing = needed.keys() - chunk.keys()
    if missing:
        return f"{kind} lacks {', '.join(sorted(missing))}."
    for name, value in chunk.items():
        test = needed.get(name) or allowed.get(name)
        if name != "type" and (test is None or not test(value)):
            return f"{kind} may not have {name} = {str(value)[:60]!r}."
    return None


class Conformance:
    """Follows one stream and raises `BrokenStream` at the first chunk that breaks a rule."""

    def __init__(self) -> None:
        self._seen = 0
        self._steps = 0
        self._over = False
        self._texts: set[tuple[str, str]] = set()
        self._calls: dict[str, str] = {}
        self._approvals: dict[str, str] = {}

    def check_all(self, many: Iterable[Chunk]) -> None:
        """Check a whole stream, its end too."""
        for chunk in many:
            self.check(chunk)
        if not self._over:
            raise BrokenStream("It has no finish.", where=f"chunk {self._seen}")

    def check(self, chunk: Chunk) -> None:
        """Check the next chunk."""
        kind = str(chunk.get("type"))
        problem = problem_of(chunk) or self._order(kind) or self._part(kind, chunk)
        if problem:
            raise BrokenStream(problem, where=f"chunk {self._seen} ({kind})")
        self._seen += 1

    def _order(self, kind: str) -> str | None:
        if self._over:
            return "It comes after finish."
        if (kind == "start") is not (self._seen == 0):
            return "A stream has one start, and it comes first."
        if kind in {"finish-step", "reset-step"} and not self._steps:
            return "No step is open."
        self._steps += (kind == "start-step") - (kind == "finish-step")
        return None

    def _part(self, kind: str, chunk: Chunk) -> str | None:
        family, _, what = kind.rpartition("-")
        if family in {"text", "reasoning"}:
            return self._flowing(family, what, str(chunk["id"]))
        if kind.startswith("tool-"):
            return self._called(kind, chunk)
        if kind == "reset-step":
            self._texts.clear()
        if kind == "finish":
            self._over = True
            return self._closed(str(chunk.get("finishReason")))
        return None

    def _flowing(self, family: str, what: str, part: str) -> str | None:
        if (what == "start") is ((family, part) in self._texts):
            return f"{family} {part!r} is {'open already' if what == 'start' else 'not open'}."
        if what == "start":
            self._texts.add((family, part))
        if what == "end":
            self._texts.discard((family, part))
        return None

    def _called(self, kind: str, chunk: Chunk) -> str | None:
        if kind == "tool-approval-response":
            call = self._approvals.pop(str(chunk["approvalId"]), None)
            return None if call else "Nobody asked for this approval."
        call = str(chunk["toolCallId"])
        if kind in {"tool-input-start", "tool-input-available", "tool-input-error"}:
            self._calls[call] = kind
            return None
        if call not in self._calls:
            return f"There is no call {call!r}."
        if kind == "tool-input-delta" and self._calls[call] != "tool-input-start":
            return f"The input of call {call!r} is complete."
        if kind == "tool-approval-request":
            self._approvals[str(chunk["approvalId"])] = call
        return None

    def _closed(self, reason: str) -> str | None:
        if reason in {"interrupted", "error", "tool-calls"}:
            return None
        if self._texts or self._steps:
            return f"Still open: {sorted(self._texts)[:3]}, {self._steps} steps."
        return None
