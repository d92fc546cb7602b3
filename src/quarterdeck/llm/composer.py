"""Makes one well-formed message stream out of what many steps say at once (STR-1, STR-4).

The client gives up at a delta whose part it does not know, at a result without its call, and at
anything that names a part by an id used before. Steps of a mission run side by side, are tried
again, and die. The composer stands between: whatever comes in, a stream without a protocol error
comes out (`llm/chunk_rules.py` states the rules, and a property test holds the two together).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import orjson

from quarterdeck.core.events import Json
from quarterdeck.llm.chunk_rules import problem_of
from quarterdeck.llm.chunks import Chunk, FinishReason, data

TEXT_CHARS_MAX = 16 * 1024 * 1024
"""Text of one stream at most; what a model says beyond it is left out, and the stream says so."""

_DELTAS = {"text-delta": "text", "reasoning-delta": "reasoning"}
_STEPS = frozenset({"start-step", "finish-step", "reset-step"})
_ENGINE_ONLY = _STEPS | {"start", "finish", "error", "abort", "message-metadata"}
_OPENING = frozenset({"tool-input-start", "tool-input-available", "tool-input-error"})
_FINAL = frozenset({"tool-output-error", "tool-output-denied", "tool-input-error"})
_UNFINISHED = "It did not finish."


@dataclass(slots=True)
class _Part:
    """A text, a reasoning or a tool call that is open.

    `wire` is its id in the stream, `section` counts the `start-step` it came after.
    """

    wire: str
    kind: str
    section: int
    asked: bool = False


@dataclass(slots=True)
class State:
    """All that a stream must remember to go on after a restart; JSON on the disk.

    `spoke` are the steps with parts since the last `start-step`, `fresh` the data parts that
    came first since then: both decide what `reset-step` would take away. `event_seq` is the place
    in the log up to which the mission's facts are told.
    """

    started: bool = False
    ended: bool = False
    full: bool = False
    section: int = 0
    parts_made: int = 0
    text_chars: int = 0
    active: list[str] = field(default_factory=list)
    spoke: list[str] = field(default_factory=list)
    fresh: dict[str, Json] = field(default_factory=dict)
    known_data: dict[str, bool] = field(default_factory=dict)
    open: dict[str, dict[str, _Part]] = field(default_factory=dict)
    usage: dict[str, Json] = field(default_factory=dict)
    event_seq: int = 0

    def as_bytes(self) -> bytes:
        """The state as stored."""
        return orjson.dumps(self)

    @classmethod
    def from_bytes(cls, stored: bytes) -> State:
        """Inverse of `as_bytes`."""
        known = orjson.loads(stored)
        known["open"] = {
            step: {part: _Part(**one) for part, one in parts.items()}
            for step, parts in known["open"].items()
        }
        return cls(**known)


class Composer:
    """One mission's stream; every method returns the chunks to send now."""

    def __init__(self, message_id: str, state: State | None = None) -> None:
        self.state = state or State()
        self._message_id = message_id

    @property
    def resting(self) -> bool:
        """Whether no step is at work and somebody's answer is awaited."""
        return not self.state.active and self.questioned

    @property
    def questioned(self) -> bool:
        """Whether an approval is open."""
        return any(part.asked for parts in self.state.open.values() for part in parts.values())

    def say(self, step: str, chunk: Chunk) -> list[Chunk]:
        """What a step's handler streams; ids are its own, and need to be unique only within it.

        What is not well-formed, or not a handler's to say (`finish`, `error`), is left out: a
        stream must never fail a step.
        """
        state = self.state
        kind = chunk.get("type")
        family = _DELTAS.get(kind) if isinstance(kind, str) else None
        if family is None:
            if kind in _ENGINE_ONLY or problem_of(chunk) is not None:
                return []
            before = [] if self.state.ended else self._begin(step)
            return [*before, *self.tell(step, chunk)]
        part, text = chunk.get("id"), chunk.get("delta")
        if state.ended or not isinstance(part, str) or not isinstance(text, str) or not text:
            return []
        before = [] if step in state.active else self._begin(step)
        known = state.open.get(step, {}).get(f"{family}:{part}")
        if known is None:
            before += self._flow(step, {"type": f"{family}-start", "id": part})
            known = state.open[step][f"{family}:{part}"]
        state.text_chars += len(text)
        if state.text_chars > TEXT_CHARS_MAX:
            return before + self._full()
        delta = {"type": kind, "id": known.wire, "delta": text}
        return [*before, delta] if before else [delta]

    def tell(self, step: str, chunk: Chunk) -> list[Chunk]:
        """What the engine says about a step; the chunk is known to be well-formed."""
        if self.state.ended:
            return []
        kind: str = chunk["type"]
        if kind in _STEPS:
            return self._bounded(step, kind)
        before = [] if self.state.started else self._start({})
        if kind.startswith("data-"):
            return before + self._data(chunk)
        if kind.startswith(("text-", "reasoning-")) and kind != "reasoning-file":
            return before + self._flow(step, chunk)
        if kind.startswith("tool-"):
            return before + self._tool(step, chunk)
        self._spoke(step)
        return [*before, chunk]

    def start(self, metadata: Mapping[str, Json]) -> list[Chunk]:
        """The mission was submitted."""
        return [] if self.state.started else self._start(metadata)

    def broadcast(self, chunk: Chunk) -> list[Chunk]:
        """What concerns the whole message: metadata, an error, an abort."""
        if self.state.ended:
            return []
        return [*self.start({}), self._totalled(chunk)]

    def withdraw(self, step: str | None = None) -> list[Chunk]:
        """Close the open questions (of one step): nobody is asked any more."""
        sent: list[Chunk] = []
        for one in [step] if step is not None else list(self.state.open):
            sent += self._close(one, lambda part: part.asked)
        return sent

    def finish(self, reason: FinishReason) -> list[Chunk]:
        """The mission is over: close what is open, and end the stream."""
        if self.state.ended:
            return []
        sent = self.start({})
        for step in list(self.state.open):
            sent += self._close(step, lambda _part: True)
        sent += [{"type": "finish-step"} for _ in self.state.active]
        self.state.active.clear()
        self.state.ended = True
        return [*sent, {"type": "finish", "finishReason": reason}]

    def _start(self, metadata: Mapping[str, Json]) -> list[Chunk]:
        self.state.started = True
        first: dict[str, Json] = {"type": "start", "messageId": self._message_id}
        return [{**first, "messageMetadata": dict(metadata)} if metadata else first]

    def _bounded(self, step: str, kind: str) -> list[Chunk]:
        if kind == "start-step":
            return self._begin(step)
        return self._end(step) if kind == "finish-step" else self._reset(step)

    def _begin(self, step: str) -> list[Chunk]:
        sent = [] if self.state.started else self._start({})
        if step in self.state.active:
            return sent
        self.state.active.append(step)
        self.state.section += 1
        self.state.spoke.clear()
        self.state.fresh.clear()
        return [*sent, {"type": "start-step"}]

    def _end(self, step: str) -> list[Chunk]:
        if step not in self.state.active:
            return []
        self.state.active.remove(step)
        return [*self._close(step, lambda part: not part.asked), {"type": "finish-step"}]

    def _reset(self, step: str) -> list[Chunk]:
        """Take away what the attempt said, unless that would take away what others said too."""
        if step not in self.state.active:
            return []
        others = (p for s, parts in self.state.open.items() if s != step for p in parts.values())
        if self.state.spoke != [step] or any(part.kind != "call" for part in others):
            return self._close(step, lambda part: not part.asked)
        earlier = self._close(step, lambda part: part.section < self.state.section)
        self.state.open.pop(step, None)
        self.state.spoke.clear()
        return [*earlier, {"type": "reset-step"}, *self.state.fresh.values()]

    def _flow(self, step: str, chunk: Chunk) -> list[Chunk]:
        family, _, what = str(chunk["type"]).rpartition("-")
        key = f"{family}:{chunk['id']}"
        part = self.state.open.get(step, {}).get(key)
        if (what == "start") is (part is not None):
            return []
        if part is None:
            part = self._made(step, family)
            self.state.open.setdefault(step, {})[key] = part
            self._spoke(step)
        if what == "end":
            del self.state.open[step][key]
            self._tidy(step)
        return [{**chunk, "id": part.wire}]

    def _tool(self, step: str, chunk: Chunk) -> list[Chunk]:
        kind = str(chunk["type"])
        call = chunk["approvalId"] if kind == "tool-approval-response" else chunk["toolCallId"]
        key = f"tool:{call}"
        sent: list[Chunk] = []
        if kind in _OPENING:
            sent = self._called(step, key, kind)
        part = self.state.open.get(step, {}).get(key)
        if part is None or not _fits(part, kind):
            return sent
        part.asked = kind == "tool-approval-request" or (
            part.asked and kind != "tool-approval-response"
        )
        if kind in _FINAL or (kind == "tool-output-available" and not chunk.get("preliminary")):
            del self.state.open[step][key]
            self._tidy(step)
        self._spoke(step)
        return [*sent, _renamed(chunk, part.wire)]

    def _called(self, step: str, key: str, kind: str) -> list[Chunk]:
        """Make room for a call: one that goes by the same id and is past its input ends first."""
        sent: list[Chunk] = []
        part = self.state.open.get(step, {}).get(key)
        if part is not None and (part.kind != "input" or kind == "tool-input-start"):
            sent, part = self._close(step, lambda one: one is part), None
        part = part or self._made(step, "input")
        part.kind = "input" if kind == "tool-input-start" else "call"
        self.state.open.setdefault(step, {})[key] = part
        return sent

    def _data(self, chunk: Chunk) -> list[Chunk]:
        part = chunk.get("id")
        if isinstance(part, str) and not chunk.get("transient"):
            key = f"{chunk['type']}:{part}"
            if key not in self.state.known_data or key in self.state.fresh:
                self.state.fresh[key] = dict(chunk)
            if key not in self.state.known_data:
                self.state.known_data[key] = True
        return [chunk]

    def _close(self, step: str, wanted: Callable[[_Part], bool]) -> list[Chunk]:
        parts = self.state.open.get(step, {})
        closing = {key: part for key, part in parts.items() if wanted(part)}
        for key in closing:
            del parts[key]
        self._tidy(step)
        return [_closed(part) for part in closing.values()]

    def _tidy(self, step: str) -> None:
        if not self.state.open.get(step, True):
            del self.state.open[step]

    def _made(self, step: str, kind: str) -> _Part:
        self.state.parts_made += 1
        return _Part(f"{step}:{self.state.parts_made}", kind, self.state.section)

    def _spoke(self, step: str) -> None:
        if step not in self.state.spoke:
            self.state.spoke.append(step)

    def _full(self) -> list[Chunk]:
        if self.state.full:
            return []
        self.state.full = True
        return self._data(data("truncated", "text", {"limit_chars": TEXT_CHARS_MAX}))

    def _totalled(self, chunk: Chunk) -> Chunk:
        """Usage adds up over the calls of the message; what is unknown of a call adds nothing."""
        given = chunk.get("messageMetadata")
        if not isinstance(given, Mapping) or "usage" not in given:
            return chunk
        total = self.state.usage
        for name, value in given["usage"].items():
            total[name] = _sum(total.get(name), value)
        return {**chunk, "messageMetadata": {**given, "usage": dict(total)}}


def _sum(one: Json, other: Json) -> Json:
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, str):  # money is decimal text
        return str(Decimal(one) + Decimal(other))
    return one + other


def _closed(part: _Part) -> Chunk:
    if part.kind in {"text", "reasoning"}:
        return {"type": f"{part.kind}-end", "id": part.wire}
    if part.asked:
        return {"type": "tool-output-denied", "toolCallId": part.wire}
    return {"type": "tool-output-error", "toolCallId": part.wire, "errorText": _UNFINISHED}


def _fits(part: _Part, kind: str) -> bool:
    if kind == "tool-input-delta":
        return part.kind == "input"
    return kind != "tool-approval-response" or part.asked


def _renamed(chunk: Chunk, wire: str) -> Chunk:
    ids = {name: wire for name in ("toolCallId", "approvalId") if name in chunk}
    return {**chunk, **ids}
