"""`quarterdeck serve`: one server for each data directory, found by the other commands, cleanly ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable

import pytest

from quarterdeck.cli.connection import ADDRESS_FILE, running_server
from tests.cli.conftest import Server, Shell

pytestmark = pytest.mark.slow
Serve = Callable[..., Server]


def test_it_says_where_it_listens(serve: Serve, shell: Shell):
    server = serve()
    assert server.started["url"].startswith("http://127.0.0.1:")
    assert server.started["data"] == str(shell.data)
    assert server.started["token"] == (shell.data / "token").read_text()
    found = running_server(shell.data)
    assert found is not None
    assert (found.url, found.pid) == (server.started["url"], server.process.pid)


def test_the_other_commands_go_through_it(serve: Serve, shell: Shell):
    serve()
    # The lock is the server's: a command that did not go through it would be refused.
    assert shell("mission", "list", "--json").last["missions"] == []
    ended = shell("mission", "submit", "Tidy up.", "--no-wait", "--id", "m_1", "--json")
    assert ended.code == 0
    assert [m["id"] for m in shell("mission", "list", "--json").last["missions"]] == ["m_1"]
    assert shell("mission", "cancel", "m_1", "--yes", "--json").last["status"] == "cancelled"


def test_a_second_server_is_refused_with_the_first_ones_process(serve: Serve, shell: Shell):
    server = serve()
    port = server.started["url"].rsplit(":", 1)[1]
    for words in (("--port", "0"), ("--port", port)):
        ended = shell.process("serve", "--json", *words)
        assert ended.code == 1
        assert ended.last["error"] == "conflict"
        assert str(server.process.pid) in ended.last["detail"]
    assert shell("mission", "list", "--json").code == 0


def test_a_taken_port_is_named(shell: Shell):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = shell.process("serve", "--port", str(port), "--json")
    assert ended.code == 1
    assert ended.last["where"] == f"127.0.0.1:{port}"
    assert "--port" in ended.last["hint"]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(serve: Serve, shell: Shell, sign):
    server = serve()
    assert server.stop(sign) < 10
    assert server.process.returncode == 0
    assert not (shell.data / ADDRESS_FILE).exists()
    assert server.process.stderr is not None
    assert server.process.stderr.read() == ""


def test_a_signal_right_after_the_start_is_not_lost(serve: Serve):
    server = serve()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) == 0


def test_it_ends_within_ten_seconds_while_a_mission_works(serve: Serve, shell, repository):
    server = serve()
    argv = json.dumps(["sleep", "300"])
    words = ("--implementer", "command", "--option", f"argv={argv}", "--auto", "--no-wait")
    begun = shell("mission", "submit", "Sleep.", "--repo", str(repository), "--id", "m_1", *words)
    assert begun.code == 0, begun
    watcher = shell.start("mission", "watch", "m_1")
    assert watcher.stdout is not None
    assert "define" in watcher.stdout.readline()
    _await_step(shell, "implement", "running")
    assert server.stop() < 10
    assert server.process.returncode == 0
    watcher.communicate(timeout=20)
    assert watcher.returncode == 1
    again = serve()
    assert again.started["resumed"] == 1
    shell("mission", "cancel", "m_1", "--yes")


def test_after_kill_nine_it_goes_on_where_it_was(serve: Serve, shell, repository, codemod):
    server = serve()
    words = ("--repo", str(repository), "--id", "m_1", "--auto", "--no-wait", *codemod)
    begun = shell("mission", "submit", "Twice is wrong.", *words)
    assert begun.code == 0, begun
    _await_step(shell, "baseline", "done")
    server.stop(signal.SIGKILL)
    # Its address is still there, and nothing listens at it: a command works by itself.
    assert (shell.data / ADDRESS_FILE).exists()
    assert shell("mission", "list", "--json").code == 0
    serve()
    assert shell("mission", "watch", "m_1", "--json").code == 3
    ended = shell("mission", "promote", "m_1", "--json")
    assert (ended.code, ended.last["outcome"]) == (0, "promoted")


def test_the_address_of_another_process_is_not_trusted(shell: Shell):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stale = {"url": f"http://127.0.0.1:{port}", "pid": os.getppid()}
    shell("mission", "list")
    (shell.data / ADDRESS_FILE).write_text(json.dumps(stale))
    assert shell("mission", "list", "--json").last["missions"] == []


def _await_step(shell: Shell, step: str, status: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        view = shell("mission", "show", "m_1", "--json").last
        assert "steps" in view, view
        if any(s["id"] == step and s["status"] == status for s in view["steps"]):
            return
        time.sleep(0.1)
    raise AssertionError(f"{step} is not {status}")
