"""A scripted agent that speaks the Agent Client Protocol over its standard streams.

It is labelled `scripted` wherever it names itself: it does what a JSON file says and thinks nothing.
The demonstration uses it to show the protocol without a model, the tests to show every way an agent
can behave. It needs the standard library only and is started as a file, so that it is up at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAME = "scripted"
VERSION = "1"
FLOOD_UPDATES = 5_000
OUTSIDE = "/tmp/quarterdeck-scripted-escape"  # noqa: S108 - a place it must fail to write to


def argv_of(script: Path) -> list[str]:
    """The command that starts this agent with a script; the server need not be importable."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(script)]


class Wire:
    """JSON-RPC over the standard streams, one request at a time."""

    def __init__(self) -> None:
        self._next = 0
        self.session = "scripted-session"

    def put(self, message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()

    def get(self) -> dict[str, Any]:
        line = sys.stdin.readline()
        if not line:
            raise SystemExit(0)
        return json.loads(line)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the client and wait; a notification meanwhile is dropped, an error is returned."""
        self._next += 1
        name = f"agent-{self._next}"
        self.put(
            {"id": name, "method": method, "params": {"sessionId": self.session, **params}},
        )
        while True:
            answer = self.get()
            if answer.get("method") == "session/cancel":
                raise SystemExit(0)
            if answer.get("id") == name:
                return answer

    def update(self, name: str, **fields: Any) -> None:
        update = {"sessionUpdate": name, **fields}
        self.put(
            {"method": "session/update", "params": {"sessionId": self.session, "update": update}}
        )

    def say(self, text: str) -> None:
        self.update("agent_message_chunk", content={"type": "text", "text": text})


class Script:
    """What the JSON file says: a `scenario` and the `edits` ({path, content}, or {path, old, new})."""

    def __init__(self, path: Path) -> None:
        given = json.loads(path.read_text())
        self.scenario: str = given["scenario"]
        self.edits: list[dict[str, str]] = given.get("edits", [])
        self.command: list[str] = given.get("command", [])
        self.updates: int = given.get("updates", FLOOD_UPDATES)
        self.outside: str = given.get("outside", OUTSIDE)


def allowed(wire: Wire, title: str, kind: str, path: str) -> bool:
    """Ask for permission to do something with a file."""
    answer = wire.ask(
        "session/request_permission",
        toolCall={
            "toolCallId": f"call-{title}",
            "title": title,
            "kind": kind,
            "locations": [{"path": path}],
        },
        options=[
            {"optionId": "once", "name": "Allow", "kind": "allow_once"},
            {"optionId": "always", "name": "Always allow", "kind": "allow_always"},
            {"optionId": "no", "name": "Reject", "kind": "reject_once"},
        ],
    )
    return answer.get("result", {}).get("outcome", {}).get("optionId") == "once"


def edit(wire: Wire, script: Script) -> None:
    """Make the edits of the script through the client, asking first."""
    for number, change in enumerate(script.edits):
        path = str(Path.cwd() / change["path"])
        call = f"edit-{number}"
        wire.update(
            "tool_call",
            toolCallId=call,
            title=f"Edit {change['path']}",
            kind="edit",
            status="pending",
        )
        if not allowed(wire, f"Edit {change['path']}", "edit", path):
            wire.say("I was not allowed to edit.\n")
            continue
        content = change.get("content")
        if content is None:
            old = wire.ask("fs/read_text_file", path=path)["result"]["content"]
            content = old.replace(change["old"], change["new"], 1)
        answer = wire.ask("fs/write_text_file", path=path, content=content)
        status = "failed" if "error" in answer else "completed"
        wire.update("tool_call_update", toolCallId=call, status=status)


def run(wire: Wire, command: list[str]) -> dict[str, Any]:
    """Run a command in a terminal of the client; its output and how it ended."""
    made = wire.ask("terminal/create", command=command[0], args=command[1:], cwd=str(Path.cwd()))
    if "error" in made:
        return {"error": made["error"]["message"]}
    terminal = made["result"]["terminalId"]
    ended = wire.ask("terminal/wait_for_exit", terminalId=terminal)["result"]
    output = wire.ask("terminal/output", terminalId=terminal)["result"]["output"]
    wire.ask("terminal/release", terminalId=terminal)
    return {"exit": ended.get("exitCode"), "output": output}


def fix(wire: Wire, script: Script) -> str:
    wire.say("I read the brief.\n")
    edit(wire, script)
    if script.command:
        wire.say(f"The command ended with {run(wire, script.command).get('exit')}.\n")
    wire.update("usage_update", used=1200, size=32000, cost={"amount": 0.0, "currency": "USD"})
    wire.say("That is all.")
    return "end_turn"


def fail(wire: Wire, script: Script) -> str:
    wire.say("I cannot do this.")
    return "refusal"


def hang(wire: Wire, script: Script) -> str:
    wire.say("I think about it.\n")
    edit(wire, script)
    # A child of its own, to see that the whole tree is ended.
    subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"])
    while True:
        time.sleep(3600)


def crash(wire: Wire, script: Script) -> str:
    wire.say("I begin.\n")
    edit(wire, script)
    sys.stderr.write("scripted: crashing as told\n")
    sys.stderr.flush()
    os._exit(3)


def flood(wire: Wire, script: Script) -> str:
    for number in range(script.updates):
        wire.say(f"line {number} of a flood\n")
    edit(wire, script)
    return "end_turn"


def deny_retry(wire: Wire, script: Script) -> str:
    """Try to change a file outside, be denied, and do it properly."""
    if allowed(wire, "Edit outside", "edit", script.outside):
        wire.say("I was allowed to leave the sandbox.\n")
    edit(wire, script)
    return "end_turn"


def escape(wire: Wire, script: Script) -> str:
    """Try to write outside the sandbox in every way there is, and tell how each went."""
    target = script.outside
    answer = wire.ask("fs/write_text_file", path=target, content="escaped")
    wire.say(f"fs: {'refused' if 'error' in answer else 'done'}\n")
    up = str(Path.cwd() / ".." / Path(target).name)
    answer = wire.ask("fs/write_text_file", path=up, content="escaped")
    wire.say(f"fs ..: {'refused' if 'error' in answer else 'done'}\n")
    link = Path("escape-link")
    link.symlink_to(target)
    answer = wire.ask("fs/write_text_file", path=str(Path.cwd() / link), content="escaped")
    wire.say(f"fs link: {'refused' if 'error' in answer else 'done'}\n")
    link.unlink()
    ended = run(wire, ["/bin/sh", "-c", f"echo escaped > {target}"])
    wire.say(f"terminal: {'done' if ended.get('exit') == 0 else 'refused'}\n")
    try:
        Path(target).write_text("escaped")
        wire.say("directly: done\n")
    except OSError:
        wire.say("directly: refused\n")
    return "end_turn"


SCENARIOS: dict[str, Callable[[Wire, Script], str]] = {
    "fix": fix,
    "bad-fix": fix,
    "fail": fail,
    "hang": hang,
    "crash": crash,
    "flood": flood,
    "deny-retry": deny_retry,
    "escape": escape,
}
"""`bad-fix` does as `fix`: only its edits do not help, which is for the proof to find out."""


def serve(script: Script) -> None:
    """Answer the client until it closes our input."""
    wire = Wire()
    while True:
        message = wire.get()
        match message.get("method"):
            case "initialize":
                result: dict[str, Any] = {
                    "protocolVersion": 1,
                    "agentCapabilities": {},
                    "agentInfo": {"name": NAME, "version": VERSION},
                }
            case "session/new":
                result = {"sessionId": wire.session}
            case "session/prompt":
                result = {"stopReason": SCENARIOS[script.scenario](wire, script)}
            case _:
                continue
        wire.put({"id": message["id"], "result": result})


if __name__ == "__main__":
    serve(Script(Path(sys.argv[1])))
