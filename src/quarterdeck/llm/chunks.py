"""Chunks of the AI SDK's UI message stream (v1, as `ai` 7 reads it) and their bytes (STR-1).

A chunk is a JSON object with a `type`. It travels as one server-sent event (WHATWG HTML §9.2).
The client gives up on a type that it does not know, so nothing is ever sent that
`llm/chunk_rules.py` does not list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import orjson

from quarterdeck.core.events import Json

Chunk: TypeAlias = Mapping[str, Json]
"""One chunk; its keys are spelled as on the wire (`toolCallId`)."""

FinishReason = Literal[
    "stop", "length", "content-filter", "tool-calls", "error", "interrupted", "other"
]

HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    "connection": "keep-alive",
    "x-vercel-ai-ui-message-stream": "v1",
    "x-accel-buffering": "no",
}
DONE = b"data: [DONE]\n\n"
OPENED = b": stream-open\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

_SEPARATOR = b"\n\n"


def frame(chunk: Chunk) -> bytes:
    """The chunk as one server-sent event.

    JSON holds no bare line feed, so the blank line that ends an event cannot occur inside.
    Lone surrogates, which a broken model can produce and UTF-8 cannot carry, become U+FFFD.
    """
    try:
        return b"data: " + orjson.dumps(chunk) + _SEPARATOR
    except orjson.JSONEncodeError:
        return b"data: " + orjson.dumps(_mended(chunk)) + _SEPARATOR


def frames(body: bytes) -> list[bytes]:
    """The events that `body` holds one after the other; inverse of joining them."""
    return [event + _SEPARATOR for event in body.split(_SEPARATOR)[:-1]]


def chunks(body: bytes) -> list[Chunk]:
    """The chunks in a piece of a stream; comments and `[DONE]` are left out."""
    events = (event[6:] for event in body.split(_SEPARATOR) if event.startswith(b"data: "))
    return [orjson.loads(event) for event in events if event != b"[DONE]"]


def _mended(value: Json) -> Json:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case Mapping():
            return {str(_mended(str(name))): _mended(one) for name, one in value.items()}
        case list() | tuple():
            return [_mended(one) for one in value]
        case None | bool() | float():
            return value
        case int():
            return value if abs(value) < 2**63 else str(value)
        case _:
            return f"<{type(value).__name__}>"


def start(message_id: str, metadata: Json = None) -> Chunk:
    """The answer begins; a client that resumes builds the message anew from here."""
    return _with({"type": "start", "messageId": message_id}, messageMetadata=metadata)


def text_start(part: str) -> Chunk:
    """A text begins; `part` is its id within its step."""
    return {"type": "text-start", "id": part}


def text_delta(part: str, text: str) -> Chunk:
    """More of a text."""
    return {"type": "text-delta", "id": part, "delta": text}


def text_end(part: str) -> Chunk:
    """A text is complete."""
    return {"type": "text-end", "id": part}


def reasoning_delta(part: str, text: str) -> Chunk:
    """More of what a model thinks before it answers."""
    return {"type": "reasoning-delta", "id": part, "delta": text}


def tool_call(call: str, tool: str, given: Json, *, title: str | None = None) -> Chunk:
    """A tool of the server is called with `given`; the client has nothing to run."""
    return _with(
        {
            "type": "tool-input-available",
            "toolCallId": call,
            "toolName": tool,
            "input": given,
            "providerExecuted": True,
            "dynamic": True,
        },
        title=title,
    )


def tool_output(call: str, output: Json, *, preliminary: bool = False) -> Chunk:
    """What the tool gave; a preliminary output is replaced by the next one."""
    chunk = {"type": "tool-output-available", "toolCallId": call, "output": output}
    return {**chunk, "preliminary": True} if preliminary else chunk


def tool_error(call: str, text: str) -> Chunk:
    """The tool failed; `text` is a sentence for a person."""
    return {"type": "tool-output-error", "toolCallId": call, "errorText": text}


def approval_request(call: str) -> Chunk:
    """The call waits for a person."""
    return {"type": "tool-approval-request", "approvalId": call, "toolCallId": call}


def approval_response(call: str, *, approved: bool, reason: str = "") -> Chunk:
    """What the person decided."""
    chunk = {"type": "tool-approval-response", "approvalId": call, "approved": approved}
    return _with(chunk, reason=reason or None)


def data(name: str, part: str, value: Json) -> Chunk:
    """A part of our own; a later one of the same name and id takes its place."""
    return {"type": f"data-{name}", "id": part, "data": value}


def metadata(value: Mapping[str, Json]) -> Chunk:
    """Facts about the whole message; the client merges them into what it has."""
    return {"type": "message-metadata", "messageMetadata": value}


def error(text: str) -> Chunk:
    """Something went wrong; `text` is a sentence for a person, never an exception's."""
    return {"type": "error", "errorText": text}


def finish(reason: FinishReason, metadata: Json = None) -> Chunk:
    """The answer is over."""
    return _with({"type": "finish", "finishReason": reason}, messageMetadata=metadata)


def joined(many: Iterable[Chunk]) -> bytes:
    """The bytes of several chunks."""
    return b"".join(map(frame, many))


def _with(chunk: dict[str, Json], **known: Json) -> Chunk:
    return {**chunk, **{name: value for name, value in known.items() if value is not None}}
