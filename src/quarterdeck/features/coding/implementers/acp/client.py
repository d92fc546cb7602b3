"""Our side of the protocol: files, terminals and permissions for an agent, all inside the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from acp import Agent, Client, RequestError, schema

from quarterdeck.core.errors import NotFound, QuarterdeckError
from quarterdeck.features.coding.implementers.acp.permission import Asked, decide
from quarterdeck.features.coding.implementers.acp.terminals import Terminals
from quarterdeck.features.coding.implementers.acp.updates import Updates
from quarterdeck.features.coding.implementers.progress import Progress
from quarterdeck.features.coding.implementers.tree import SandboxTree

LINES_MAX = 100_000
DENIALS_KEPT = 20
_PATH_KEYS = ("path", "file_path", "filePath", "filepath", "file", "abs_path")

P = ParamSpec("P")
R = TypeVar("R")


def _answered(call: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Answer the product's errors as the protocol's, with the words for the agent."""

    @wraps(call)
    async def answering(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await call(*args, **kwargs)
        except NotFound as error:
            raise RequestError(-32002, str(error)) from None
        except QuarterdeckError as error:
            raise RequestError(-32602, str(error)) from None

    return answering


@dataclass(slots=True)
class Record:
    """What the client did for the agent; goes into the evidence."""

    reads: int = 0
    writes: int = 0
    commands: int = 0
    allowed: int = 0
    denied: int = 0
    denials: list[str] | None = None

    def deny(self, reason: str) -> None:
        self.denied += 1
        self.denials = [*(self.denials or []), reason[:300]][:DENIALS_KEPT]


class SandboxClient(Client):
    """Implements the client methods of the protocol for one sandbox; there is nobody to elicit."""

    def __init__(
        self,
        tree: SandboxTree,
        terminals: Terminals,
        updates: Updates,
        progress: Progress,
        *,
        allow_commands: bool,
    ) -> None:
        self._tree = tree
        self._terminals = terminals
        self._updates = updates
        self._progress = progress
        self._allow_commands = allow_commands
        self.record = Record()

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self._updates.take(update)

    async def request_permission(
        self,
        session_id: str,
        tool_call: schema.ToolCallUpdate,
        options: list[schema.PermissionOption],
        **_: Any,
    ) -> schema.RequestPermissionResponse:
        asked = Asked(
            title=(tool_call.title or tool_call.kind or "something")[:200],
            kind=tool_call.kind or self._updates.kind_of(tool_call.tool_call_id),
            paths=[*paths_of(tool_call), *self._updates.paths_of(tool_call.tool_call_id)],
            options={option.option_id: option.kind for option in options},
        )
        decision = decide(asked, inside=self._inside, allow_commands=self._allow_commands)
        if decision.allowed:
            self.record.allowed += 1
        else:
            self.record.deny(f"{asked.title}: {decision.reason}")
        verb = "Allowed" if decision.allowed else "Denied"
        self._progress.say(f"{verb}: {asked.title} ({decision.reason})", permission=verb.lower())
        return _response(decision.option)

    @_answered
    async def read_text_file(
        self,
        session_id: str,
        path: str,
        line: int | None = None,
        limit: int | None = None,
        **_: Any,
    ) -> schema.ReadTextFileResponse:
        self.record.reads += 1
        text = await asyncio.to_thread(self._tree.read_text, path)
        if line is not None or limit is not None:
            start = max(line or 1, 1) - 1
            count = LINES_MAX if limit is None else max(limit, 0)
            text = "".join(text.splitlines(keepends=True)[start : start + count])
        return schema.ReadTextFileResponse(content=text)

    @_answered
    async def write_text_file(
        self, session_id: str, path: str, content: str, **_: Any
    ) -> schema.WriteTextFileResponse:
        try:
            await asyncio.to_thread(self._tree.write, path, content.encode())
        except QuarterdeckError as error:
            self.record.deny(f"Write {path[:200]}: {error.message}")
            self._progress.say(f"Denied: write {path} ({error.message})", permission="denied")
            raise
        self.record.writes += 1
        self._progress.say(f"Wrote {self._tree.relative(path)}.")
        return schema.WriteTextFileResponse()

    @_answered
    async def create_terminal(
        self,
        session_id: str,
        command: str,
        args: list[str] | None = None,
        env: list[schema.EnvVariable] | None = None,
        cwd: str | None = None,
        output_byte_limit: int | None = None,
        **_: Any,
    ) -> schema.CreateTerminalResponse:
        if not self._allow_commands:
            self.record.deny(f"Terminal {command[:200]}: commands are not allowed.")
            raise RequestError(-32602, "This mission does not allow commands.")
        argv = [command, *(args or [])]
        if not args and " " in command:
            # Many agents put a whole command line here; it runs confined like any other.
            argv = ["/bin/sh", "-c", command]
        where = self._tree.root if cwd is None else self._tree.directory(cwd)
        self.record.commands += 1
        self._progress.say(f"Runs {' '.join(argv)}")
        name = self._terminals.start(
            argv,
            cwd=where,
            env={variable.name: variable.value for variable in env or []},
            output_max_bytes=output_byte_limit,
        )
        return schema.CreateTerminalResponse(terminal_id=name)

    @_answered
    async def terminal_output(
        self, session_id: str, terminal_id: str, **_: Any
    ) -> schema.TerminalOutputResponse:
        terminal = self._terminals.get(terminal_id)
        ended = terminal.exit
        status = ended and schema.TerminalExitStatus(exit_code=ended.code, signal=ended.signal)
        return schema.TerminalOutputResponse(
            output=terminal.output, truncated=terminal.truncated, exit_status=status
        )

    @_answered
    async def wait_for_terminal_exit(
        self, session_id: str, terminal_id: str, **_: Any
    ) -> schema.WaitForTerminalExitResponse:
        ended = await self._terminals.wait(terminal_id)
        return schema.WaitForTerminalExitResponse(exit_code=ended.code, signal=ended.signal)

    @_answered
    async def kill_terminal(
        self, session_id: str, terminal_id: str, **_: Any
    ) -> schema.KillTerminalResponse:
        await self._terminals.kill(terminal_id)
        return schema.KillTerminalResponse()

    @_answered
    async def release_terminal(
        self, session_id: str, terminal_id: str, **_: Any
    ) -> schema.ReleaseTerminalResponse:
        await self._terminals.release(terminal_id)
        return schema.ReleaseTerminalResponse()

    async def create_elicitation(
        self, message: str, mode: schema.ElicitationMode, **_: Any
    ) -> schema.CreateElicitationResponse:
        raise RequestError.method_not_found("elicitation/create")

    async def complete_elicitation(self, elicitation_id: str, **_: Any) -> None:
        """Nothing was elicited."""

    async def ext_notification(self, method: str, params: dict[str, Any]) -> None:
        """Extensions are not known here; a notification needs no answer."""

    def on_connect(self, conn: Agent) -> None:
        """The session drives the connection."""

    async def ext_method(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        raise RequestError.method_not_found(method[:200])

    def _inside(self, path: str) -> bool:
        try:
            self._tree.relative(path)
        except QuarterdeckError:
            return False
        return True


def paths_of(call: schema.ToolCallUpdate | schema.ToolCall) -> list[str]:
    """Every file a tool call names: its locations, its diffs, and the usual keys of its input."""
    paths = [location.path for location in call.locations or []]
    paths += [part.path for part in call.content or [] if part.type == "diff"]
    if isinstance(call.raw_input, dict):
        given = (call.raw_input.get(key) for key in _PATH_KEYS)
        paths += [path for path in given if isinstance(path, str)]
    return paths


def _response(option: str | None) -> schema.RequestPermissionResponse:
    if option is None:
        return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome="cancelled"))
    chosen = schema.AllowedOutcome(outcome="selected", option_id=option)
    return schema.RequestPermissionResponse(outcome=chosen)
