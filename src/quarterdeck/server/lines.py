"""The older line protocol, told from the same chunks: `LOG:`, then `RESULT:` or `ERROR:` (STR-5).

One line each, UTF-8, ended by a line feed; the last line is a result or an error, and there is
only one of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from quarterdeck.core.events import Json
from quarterdeck.llm.chunks import Chunk

HEADERS = {
    "content-type": "text/plain; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
KEEP_ALIVE = b"LOG: \n"
INTERRUPTED = "The server stopped before the mission ended; ask for the stream again."
CANCELLED = "The mission was cancelled."
LINE_CHARS_MAX = 8_000


class Lines:
    """Turns the chunks of one stream into lines."""

    def __init__(self, mission: str) -> None:
        self._result: dict[str, Json] = {"mission": mission}
        self._texts: dict[str, str] = {}
        self._error: str | None = None
        self._over = False

    def add(self, many: Iterable[Chunk]) -> bytes:
        """The lines that these chunks complete."""
        return "".join(line for chunk in many for line in self._lines(chunk)).encode(
            "utf-8", "replace"
        )

    def _lines(self, chunk: Chunk) -> list[str]:
        kind: str = chunk["type"]
        match kind:
            case "text-delta" | "reasoning-delta":
                return self._grown(str(chunk["id"]), str(chunk["delta"]))
            case "text-end" | "reasoning-end":
                return _logged(self._texts.pop(str(chunk["id"]), ""))
            case "start" | "message-metadata" | "finish":
                self._noted(chunk.get("messageMetadata"))
                return self._ended(str(chunk["finishReason"])) if kind == "finish" else []
            case "data-step":
                return _logged(_standing(chunk["data"]))
            case "data-progress":
                return _logged(f"{chunk['data']['step']}: {chunk['data']['message']}")
            case "data-mission":
                self._noted(chunk["data"])
                return []
            case "tool-input-available":
                return _logged(f"{chunk['toolName']}: {chunk.get('title') or ''}")
            case "error":
                self._error = str(chunk["errorText"])
                return []
            case "abort":
                self._error = str(chunk.get("reason") or CANCELLED)
                return []
            case _:
                return []

    def _grown(self, part: str, delta: str) -> list[str]:
        """Text is told by whole lines."""
        whole, feed, rest = (self._texts.get(part, "") + delta).rpartition("\n")
        if len(rest) > LINE_CHARS_MAX:
            whole, feed, rest = whole + feed + rest, "\n", ""
        self._texts[part] = rest
        return _logged(whole) if feed else []

    def _noted(self, facts: Json) -> None:
        if isinstance(facts, Mapping):
            self._result.update(facts)

    def _ended(self, reason: str) -> list[str]:
        if self._over:
            return []
        self._over = True
        rest = [line for text in self._texts.values() for line in _logged(text)]
        if reason == "interrupted":
            self._error = INTERRUPTED
        if reason == "tool-calls":
            self._result["status"] = "waiting"
        if self._error is not None:
            return [*rest, f"ERROR: {' '.join(self._error.split())}\n"]
        return [*rest, f"RESULT: {orjson.dumps(self._result).decode()}\n"]


def wants_lines(accept: str) -> bool:
    """Whether a client asks for lines: it names `text/plain` and not the event stream."""
    types = {one.split(";")[0].strip().lower() for one in accept.split(",")}
    return "text/plain" in types and "text/event-stream" not in types


def _standing(data: Mapping[str, Json]) -> str:
    why = data.get("error") or data.get("reason")
    return f"{data['step']}: {data['status']}" + (f" ({why})" if why else "")


def _logged(text: str) -> list[str]:
    return [f"LOG: {line}\n" for line in text.splitlines() if line.strip()]
