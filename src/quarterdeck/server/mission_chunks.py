"""What a mission's facts look like in the UI message stream: a pure translation (STR-1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from quarterdeck.core.events import Event, EventType, Json
from quarterdeck.llm import chunks
from quarterdeck.llm.chunks import Chunk, FinishReason
from quarterdeck.llm.composer import Composer

QUESTION = "question"
"""The id, within its step, of the tool call that stands for a question to a person."""
APPROVAL_TOOL = "approval"
NEGATIVE = frozenset({"reject", "fail"})
"""The choices that say no; every other choice lets the mission go on."""
UNFORESEEN = "Something went wrong that was not foreseen; the server's log says more."
ERROR_CHARS_MAX = 500

_BEGIN: Chunk = {"type": "start-step"}
_END: Chunk = {"type": "finish-step"}
_RESET: Chunk = {"type": "reset-step"}
_DENIED: Chunk = {"type": "tool-output-denied", "toolCallId": QUESTION}

_STEP = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}: ")
_EXCEPTION = re.compile(
    r"Unexpected \S|[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Timeout|Warning|Group)\b"
)
_FINISHED: dict[str, FinishReason] = {"done": "stop", "failed": "error", "cancelled": "other"}
_STATUS = {
    EventType.STEP_STARTED: "running",
    EventType.STEP_WAITING: "waiting",
    EventType.STEP_ANSWERED: "queued",
    EventType.STEP_WOKEN: "queued",
    EventType.STEP_FINISHED: "done",
    EventType.STEP_INTERRUPTED: "queued",
    EventType.STEP_SKIPPED: "skipped",
    EventType.STEP_CANCELLED: "cancelled",
    EventType.STEP_BLOCKED: "blocked",
    EventType.STEP_UNBLOCKED: "queued",
}

Known = TypeVar("Known")


def compose(composer: Composer, event: Event) -> list[Chunk]:
    """What the stream gains by this fact."""
    sent: list[Chunk] = []
    if event.type is EventType.MISSION_REWOUND:
        sent += composer.withdraw()
    for chunk in chunks_for(event):
        sent += _heard(composer, event.step, chunk)
    return sent


def _heard(composer: Composer, step: str | None, chunk: Chunk) -> list[Chunk]:
    match chunk["type"]:
        case "start":
            return composer.start(chunk.get("messageMetadata") or {})
        case "finish":
            return composer.finish(chunk["finishReason"])
        case "message-metadata" | "error" | "abort":
            return composer.broadcast(chunk)
        case _:
            return composer.tell(step or "", chunk)


def chunks_for(event: Event) -> list[Chunk]:
    """The chunks of one fact; ids of parts are relative to the event's step.

    Most facts have none. A step's handler may have streamed before the fact that it started is
    heard: `start-step` then says nothing new.
    """
    if event.step is None:
        return _of_mission(event)
    found = _of_step(event, event.step)
    status = _STATUS.get(event.type)
    if event.type is EventType.STEP_FAILED:
        status = "queued" if event.data.get("retry_at") else "failed"
    if status is None:
        return found
    return [*found, _standing(event, event.step, status)]


def public_error(text: str | None) -> str:
    """The sentence if it was written for people; what an exception said stays on the server."""
    if not text:
        return UNFORESEEN
    prefix = _STEP.match(text)
    said = text[prefix.end() :] if prefix else text
    if _EXCEPTION.match(said):
        return (prefix.group() if prefix else "") + UNFORESEEN
    line = text.splitlines()[0]
    return line if len(line) <= ERROR_CHARS_MAX else line[: ERROR_CHARS_MAX - 1] + "…"


def _of_mission(event: Event) -> list[Chunk]:
    match event.type:
        case EventType.MISSION_SUBMITTED:
            return [
                chunks.start("", {"mission": event.mission, "submittedAt": event.at}),
                _mission(event, "queued"),
            ]
        case EventType.MISSION_REWOUND:
            return [_mission(event, "running")]
        case EventType.MISSION_FINISHED:
            return _ending(event)
        case EventType.MODEL_CALLED:
            return [_usage(event.data)]
        case _:
            return []


def _of_step(event: Event, step: str) -> list[Chunk]:
    match event.type:
        case EventType.STEP_STARTED:
            return [_BEGIN]
        case EventType.STEP_PROGRESSED:
            return [_progress(event, step)]
        case EventType.STEP_WAITING:
            return [*_asked(event.data), _END]
        case EventType.STEP_ANSWERED:
            return _answered(event.data)
        case EventType.STEP_WOKEN:
            return [_DENIED]
        case EventType.STEP_FINISHED:
            return [_END]
        case EventType.STEP_FAILED | EventType.STEP_INTERRUPTED:
            return [_RESET, _END]
        case EventType.STEP_CANCELLED:
            return [_DENIED, _END]
        case EventType.MODEL_CALLED:
            return [_usage(event.data)]
        case _:
            return []


def _mission(event: Event, status: str) -> Chunk:
    known = _known({"outcome": event.data.get("outcome")})
    return chunks.data("mission", "mission", {"status": status, "at": event.at, **known})


def _standing(event: Event, step: str, status: str) -> Chunk:
    data = event.data
    failed = event.type is EventType.STEP_FAILED
    known = {
        "reason": data.get("reason"),
        "error": public_error(data.get("error")) if failed else None,
        "retryAt": data.get("retry_at") if failed else None,
    }
    value = {"step": step, "status": status, "at": event.at, **_known(known)}
    return chunks.data("step", step, value)


def _progress(event: Event, step: str) -> Chunk:
    data = event.data
    value = {"step": step, "message": data.get("message"), "fraction": data.get("fraction")}
    return chunks.data("progress", step, value)


def _asked(data: Mapping[str, Json]) -> list[Chunk]:
    question = data.get("question") or {}
    if not question.get("choices"):
        return []
    title = str(question.get("question", ""))
    return [
        chunks.tool_call(QUESTION, APPROVAL_TOOL, dict(question), title=title),
        chunks.approval_request(QUESTION),
    ]


def _answered(data: Mapping[str, Json]) -> list[Chunk]:
    answer = data["answer"]
    choice, reason = str(answer["choice"]), str(answer.get("reason", ""))
    output = {"choice": choice, "actor": answer.get("actor"), "reason": reason}
    return [
        chunks.approval_response(QUESTION, approved=choice not in NEGATIVE, reason=reason),
        chunks.tool_output(QUESTION, output),
    ]


def _ending(event: Event) -> list[Chunk]:
    status = str(event.data.get("status"))
    sent = [_mission(event, status)]
    if status == "failed":
        sent.append(chunks.error(public_error(event.data.get("error"))))
    if status == "cancelled":
        sent.append({"type": "abort", "reason": "The mission was cancelled."})
    return [*sent, chunks.finish(_FINISHED.get(status, "other"))]


def _usage(data: Mapping[str, Json]) -> Chunk:
    """One call's usage; the composer adds the calls up. Unknown counts are None."""
    counted = data.get("input_tokens") is not None and data.get("output_tokens") is not None
    usage = {
        "calls": 1,
        "unmeasuredCalls": int(not counted),
        "inputTokens": data.get("input_tokens"),
        "outputTokens": data.get("output_tokens"),
        "cachedTokens": data.get("cached_tokens"),
        "cost": data.get("price"),
    }
    return chunks.metadata({"usage": usage, "currency": data.get("currency")})


def _known(values: Mapping[str, Known | None]) -> dict[str, Known]:
    return {name: value for name, value in values.items() if value is not None}
