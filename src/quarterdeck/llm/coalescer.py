"""Merges deltas of a part that come faster than anybody reads, without holding back the first."""

from __future__ import annotations

from quarterdeck.llm.chunks import Chunk

WINDOW_S = 0.05
"""One frame in 50 ms for each part: below what an eye notices, and far fewer frames than tokens."""

_TEXT_FIELD = {
    "text-delta": ("id", "delta"),
    "reasoning-delta": ("id", "delta"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
}

_Part = tuple[str, str]


class Coalescer:
    """For one stream; time is given, so that it decides and never waits.

    The first delta of a part goes at once, and so does any that comes a whole window after the
    last one sent. What comes sooner waits for the end of the window, merged. Everything else goes
    at once, behind whatever waited: no chunk ever overtakes another of its part.
    """

    def __init__(self, *, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._sent_s: dict[_Part, float] = {}
        self._held: dict[_Part, list[str]] = {}
        self.due_s: float | None = None

    def add(self, chunk: Chunk, now_s: float) -> list[Chunk]:
        """What is to be sent now that `chunk` has come."""
        kind = chunk["type"]
        fields = _TEXT_FIELD.get(kind)
        if fields is None:
            return self._passed(chunk, now_s)
        part = (kind, chunk[fields[0]])
        held = self._held.get(part)
        if held is not None:
            held.append(chunk[fields[1]])
            return []
        due_s = self._sent_s.get(part, -self._window_s) + self._window_s
        if now_s >= due_s:
            self._sent_s[part] = now_s
            return [chunk]
        self._held[part] = [chunk[fields[1]]]
        self.due_s = due_s if self.due_s is None else min(self.due_s, due_s)
        return []

    def flush(self, now_s: float) -> list[Chunk]:
        """Everything that waits, one chunk for each part."""
        sent: list[Chunk] = []
        for part, held in self._held.items():
            name, text = _TEXT_FIELD[part[0]]
            sent.append({"type": part[0], name: part[1], text: "".join(held)})
            self._sent_s[part] = now_s
        self._held.clear()
        self.due_s = None
        return sent

    def _passed(self, chunk: Chunk, now_s: float) -> list[Chunk]:
        sent = [*self.flush(now_s), chunk] if self._held else [chunk]
        match chunk["type"]:
            case "text-end" | "reasoning-end" as kind:
                self._sent_s.pop((kind.replace("-end", "-delta"), chunk["id"]), None)
            case "tool-input-available" | "tool-input-error":
                self._sent_s.pop(("tool-input-delta", chunk["toolCallId"]), None)
            case "reset-step":
                self._sent_s.clear()
            case _:
                pass
        return sent
