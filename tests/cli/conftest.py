"""The command line as people and programs use it: in this process, or as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from quarterdeck.cli.main import app

PROGRAM = str(Path(sys.executable).with_name("quarterdeck"))
QUIET = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}


@dataclass
class Ended:
    """How one command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def last(self) -> Any:
        """The JSON document on the last line of the standard output."""
        return json.loads(self.stdout.rstrip("\n").rsplit("\n", 1)[-1])


@dataclass
class Shell:
    """Runs commands on one data directory, in which no model is looked for."""

    data: Path
    runner: CliRunner = field(default_factory=CliRunner)

    def __call__(self, *words: str, stdin: str | None = None) -> Ended:
        """Run a command in this process."""
        env = {"QUARTERDECK_DATA": str(self.data), **QUIET}
        result = self.runner.invoke(app, list(words), input=stdin, env=env)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        assert "Traceback" not in result.output
        return Ended(result.exit_code, result.stdout, result.stderr)

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        env = {**os.environ, **QUIET, "QUARTERDECK_DATA": str(self.data), **more.pop("env", {})}
        return subprocess.Popen(
            [PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            **more,
        )

    def process(self, *words: str, **more: Any) -> Ended:
        """Run a command as a process of its own, to its end."""
        process = self.start(*words, **more)
        stdout, stderr = process.communicate(timeout=100)
        assert "Traceback" not in stdout + stderr, stdout + stderr
        return Ended(process.returncode, stdout, stderr)


@pytest.fixture
def shell(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    (data_dir / "settings.yaml").write_text(yaml.safe_dump({"model_servers": []}))
    monkeypatch.setattr("quarterdeck.cli.output.console.width", 200, raising=False)
    return Shell(data_dir)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small project with one red test, and a script beside it that turns it green."""
    place = tmp_path / "repository"
    place.mkdir()
    (place / "calc.py").write_text("def twice(value):\n    return value + 2\n")
    (place / "test_calc.py").write_text(
        "from calc import twice\n\n\ndef test_two():\n    assert twice(2) == 4\n\n\n"
        "def test_three():\n    assert twice(3) == 6\n"
    )
    (place / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    for words in (
        ("init", "-q", "-b", "main"),
        ("add", "-A"),
        ("-c", "user.name=T", "-c", "user.email=t@example.invalid", "commit", "-qm", "Begin"),
    ):
        subprocess.run(["git", *words], cwd=place, check=True)
    return place


@pytest.fixture
def codemod() -> list[str]:
    """Options of `submit` that fix the project by `sed`."""
    argv = ["sed", "-i", "s/value + 2/value * 2/", "calc.py"]
    return ["--implementer", "command", "--option", f"argv={json.dumps(argv)}"]


@dataclass
class Server:
    """A running `quarterdeck serve`."""

    process: subprocess.Popen[str]
    started: dict[str, Any]

    def stop(self, sign: int = signal.SIGTERM) -> float:
        """Send a signal and wait for the end; the seconds that took."""
        began = time.monotonic()
        self.process.send_signal(sign)
        self.process.wait(20)
        return time.monotonic() - began


@pytest.fixture
def serve(shell: Shell) -> Iterator[Callable[..., Server]]:
    """Starts servers on the shell's data directory; all are stopped at the end."""
    servers: list[Server] = []

    def begin(*words: str) -> Server:
        process = shell.start("serve", "--json", "--port", "0", *words)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        servers.append(Server(process, json.loads(line)))
        return servers[-1]

    yield begin
    for server in servers:
        server.process.kill()
        server.process.communicate()
