"""What an agent says while it works, made into bounded progress."""

from __future__ import annotations

from typing import Any

from acp import schema

from quarterdeck.features.coding.implementers.progress import Progress

TEXT_MAX = 20_000
LINE_AT = 300
CALLS_MAX = 2_000
CALL_ID_MAX = 200


class Updates:
    """Takes session updates; keeps the agent's last words, its usage and its open tool calls."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._line = ""
        self._calls: dict[str, tuple[str | None, list[str]]] = {}
        self.text = ""
        self.tool_calls = 0
        self.usage: dict[str, Any] | None = None

    def take(self, update: Any) -> None:
        """One `session/update` of the protocol; kinds that say nothing to a person are skipped."""
        match update:
            case schema.AgentMessageChunk(content=schema.TextContentBlock(text=text)):
                self._speak(text)
            case schema.ToolCallStart():
                self._tool(update)
            case schema.ToolCallProgress(status="failed"):
                self._progress.say(f"Tool call failed: {update.title or update.tool_call_id}")
            case schema.AgentPlanUpdate():
                done = sum(entry.status == "completed" for entry in update.entries)
                self._progress.say(f"Plan: {done} of {len(update.entries)} done")
            case schema.UsageUpdate():
                self._use(update)

    def end(self) -> None:
        """Let out the last, unended line."""
        self._progress.say(self._line)
        self._line = ""
        self._progress.flush()

    def kind_of(self, call: str) -> str | None:
        """The kind the agent gave a tool call when it started."""
        return self._calls.get(call, (None, []))[0]

    def paths_of(self, call: str) -> list[str]:
        """The files the agent named when it started a tool call."""
        return self._calls.get(call, (None, []))[1]

    def _speak(self, text: str) -> None:
        self.text = (self.text + text)[-TEXT_MAX:]
        *lines, self._line = (self._line + text[-TEXT_MAX:]).split("\n")
        if len(self._line) > LINE_AT:
            lines, self._line = [*lines, self._line], ""
        for line in lines:
            self._progress.say(line)

    def _tool(self, call: schema.ToolCallStart) -> None:
        self.tool_calls += 1
        if len(self._calls) < CALLS_MAX and len(call.tool_call_id) <= CALL_ID_MAX:
            paths = [location.path for location in call.locations or []]
            self._calls[call.tool_call_id] = (call.kind, paths)
        self._progress.say(f"Tool: {call.title}", tool=call.kind)

    def _use(self, update: schema.UsageUpdate) -> None:
        self.usage = {"context_tokens": update.used, "context_size": update.size}
        if update.cost is not None:
            self.usage["cost"] = {"amount": update.cost.amount, "currency": update.cost.currency}
        self._progress.say(f"{update.used} of {update.size} tokens in use", usage=self.usage)
