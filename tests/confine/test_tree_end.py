"""Nothing outlives its command: survivors, cancellation, the death of the server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from quarterdeck.confine import Confinement, Limits, StoppedBy, run_command

# leaves by every way that a process has of leaving its parent, marked by a file name in its arguments
SURVIVE = """
import os, subprocess, sys, time
mark = sys.argv[1] if len(sys.argv) > 1 else {mark!r}
def linger():
    os.execvp("tail", ["tail", "-f", "/dev/null", mark])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        linger()
    os._exit(0)
if os.fork() == 0:
    linger()
subprocess.Popen(["setsid", "nohup", "tail", "-f", "/dev/null", mark])
time.sleep(0.3)
{then}
"""


def alive(mark: str) -> list[int]:
    """Every process of the machine that carries the mark in its command line."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words:
            found.append(int(name))
    return found


@pytest.fixture
def mark(tree: Path) -> str:
    """An existing file whose name marks the processes of one test."""
    path = tree / f"mark-{os.getpid()}-{time.monotonic_ns()}"
    path.write_text("")
    return str(path)


async def test_survivors_die_with_the_main_process(run, mark):
    result = await run(SURVIVE.format(mark=mark, then="os._exit(5)"))
    assert result.exit_code == 5
    assert alive(mark) == []


async def test_survivors_die_at_the_time_out(run, mark):
    began = time.monotonic()
    result = await run(SURVIVE.format(mark=mark, then="time.sleep(60)"), timeout_s=1)
    assert result.timed_out
    assert result.stopped_by is StoppedBy.TIMEOUT
    assert time.monotonic() - began < 2.5
    assert alive(mark) == []


async def test_a_process_that_ignores_signals_dies(run, mark):
    code = "import signal\nfor n in range(1, 32):\n try: signal.signal(n, signal.SIG_IGN)\n"
    code += " except (OSError, ValueError): 0\nwhile True: pass"
    result = await run(code, timeout_s=0.5)
    assert result.timed_out
    assert result.signal == signal.SIGKILL


async def test_cancelling_ends_the_tree_before_it_returns(run, mark):
    task = asyncio.ensure_future(run(SURVIVE.format(mark=mark, then="time.sleep(60)")))
    while len(alive(mark)) < 3:
        await asyncio.sleep(0.05)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 1
    assert alive(mark) == []


async def test_cancelling_at_any_moment_of_the_start_leaves_nothing(
    run, tmp_path, mark, monkeypatch
):
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp))
    for delay_ms in range(0, 80, 8):
        task = asyncio.ensure_future(run(["tail", "-f", "/dev/null", mark]))
        await asyncio.sleep(delay_ms / 1000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert alive(mark) == []
        assert sorted(tmp.iterdir()) == []


SERVER = """
import asyncio, sys
from pathlib import Path
from quarterdeck.confine import Confinement, run_command
tree, mark, own, code = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "own", sys.argv[4]
asyncio.run(run_command(
    [sys.executable, "-c", code, mark], cwd=tree, timeout_s=60,
    confinement=Confinement(writable=(tree,), namespaces=own),
))
"""


def test_killing_the_server_kills_the_tree(tree, tmp_path, mark, namespaces):
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    code = SURVIVE.format(mark="", then="time.sleep(60)")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tree), mark, "own" if namespaces else "shared", code],
        env={**os.environ, "TMPDIR": str(tmp)},
    )
    deadline = time.monotonic() + 20
    while len(alive(mark)) < 5 and time.monotonic() < deadline:  # the server itself is one
        time.sleep(0.05)
    assert len(alive(mark)) >= 5
    server.send_signal(signal.SIGKILL)
    server.wait()
    deadline = time.monotonic() + 2
    while alive(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive(mark) == []
    while list(tmp.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(tmp.iterdir()) == []


async def test_killing_the_launcher_kills_the_main_process(tree, mark, namespaces):
    confinement = Confinement(writable=(tree,), namespaces=namespaces, limits=Limits(cpu_s=5))
    task = asyncio.ensure_future(
        run_command(
            ["tail", "-f", "/dev/null", mark], cwd=tree, confinement=confinement, timeout_s=60
        )
    )
    while not alive(mark):
        await asyncio.sleep(0.05)
    (pid,) = alive(mark)
    parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    if namespaces:
        parent = int(Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(parent, signal.SIGKILL)
    result = await task
    assert result.stopped_by is StoppedBy.KILLED
    assert result.exit_code is None
    assert alive(mark) == []
