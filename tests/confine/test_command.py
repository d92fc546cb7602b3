"""What a caller of `run_command` gets: exit, output, environment, errors."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from quarterdeck.confine import (
    Confinement,
    Level,
    Limits,
    Network,
    StoppedBy,
    probe,
    run_command,
    start_command,
)
from quarterdeck.confine.level import _judged, require
from quarterdeck.confine.process import start_at
from quarterdeck.confine.syscalls import number
from quarterdeck.core.errors import InvalidInput, NotFound, Unavailable


async def test_output_and_exit_code_come_back(run):
    result = await run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.exit_code, result.signal, result.stopped_by) == (3, None, None)
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")
    assert sorted(result.output.split()) == [b"err", b"out"]
    assert not result.truncated
    assert not result.ok
    assert result.output_bytes == 8


async def test_a_signal_is_told_apart_from_an_exit_code(run):
    result = await run(["sh", "-c", "kill -SEGV $$"])
    assert (result.exit_code, result.signal) == (None, signal.SIGSEGV)


async def test_standard_input_is_given(run):
    result = await run(["cat"], stdin=b"x" * 300_000)
    assert result.stdout == b"x" * 300_000


async def test_without_input_it_ends_at_once(run):
    assert (await run(["cat"])).stdout == b""


async def test_input_nobody_wants_is_no_error(run):
    assert (await run(["true"], stdin=b"x" * 10_000_000)).ok


async def test_pieces_are_shown_as_they_arrive(run):
    pieces = []
    await run(["sh", "-c", "echo one; sleep 0.1; echo two"], on_output=pieces.append)
    assert b"".join(pieces) == b"one\ntwo\n"
    assert len(pieces) == 2


async def test_an_error_of_the_listener_ends_the_command(run):
    def refuse(_: bytes) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await run(["sh", "-c", "echo one; sleep 60"], on_output=refuse)


async def test_the_environment_is_cleared(run, tree, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "secret")
    result = await run(["env"], env={"GIVEN": "yes"})
    names = {line.split("=")[0] for line in result.stdout.decode().splitlines()}
    assert names == {
        *("PATH", "HOME", "TMPDIR", "TMP", "TEMP", "LANG"),
        *("GIT_CONFIG_NOSYSTEM", "GIT_TERMINAL_PROMPT", "GIVEN"),
    }


async def test_home_and_tmp_are_private_and_removed(run, tree):
    result = await run(["sh", "-c", "echo $HOME; echo $TMPDIR; mktemp; mkdir -m 0 $HOME/shut"])
    home, tmp, file = map(Path, result.stdout.decode().split())
    assert result.ok, result.output
    assert home.parent == tmp.parent
    assert not home.parent.exists()
    assert file.parent == tmp
    assert list(tree.iterdir()) == []


async def test_given_home_and_tmp_stay(tree, tmp_path):
    home, tmp = tmp_path / "home", tmp_path / "tmp"
    confinement = Confinement(writable=(tree,), home=home, tmp=tmp)
    await run_command(
        ["sh", "-c", "echo x > $HOME/a; echo x > $TMPDIR/b"],
        cwd=tree,
        confinement=confinement,
        timeout_s=10,
    )
    assert (home / "a").exists()
    assert (tmp / "b").exists()
    assert list(tree.iterdir()) == []


async def test_long_output_keeps_head_and_tail(run):
    limits = Limits(output_bytes=1000)
    result = await run(["seq", "100000"], limits=limits)
    assert result.ok
    assert result.truncated
    assert result.output_bytes == 588_895
    assert result.stdout.startswith(b"1\n2\n")
    assert result.stdout.endswith(b"99999\n100000\n")
    assert b"[... 587895 bytes left out ...]" in result.stdout


async def test_descriptors_of_the_server_are_not_inherited(run, tmp_path):
    with open(tmp_path / "open", "w") as file:
        os.set_inheritable(file.fileno(), True)
        result = await run(["sh", "-c", "for i in 3 4 5 6 7 8 9; do : >&$i; done 2>&1 | wc -l"])
        assert result.stdout.strip() != b"0"
        found = await run(
            "import os\nfor i in range(3, 200):\n try: os.fstat(i); print(i)\n except OSError: 0"
        )
    assert found.stdout == b""


@pytest.mark.parametrize(
    ("argv", "error", "words"),
    [
        ([], InvalidInput, "no command"),
        (["no-such-program"], NotFound, "no program 'no-such-program'"),
        (["./no-such-program"], NotFound, "no program"),
        (["/etc/passwd"], InvalidInput, "Permission denied"),
        (["a\0b"], InvalidInput, "cannot be passed"),
        (["a\ud800"], InvalidInput, "cannot be passed"),
        (["x"] * 20_000, InvalidInput, "too much"),
    ],
)
async def test_a_command_that_cannot_be_is_an_error(run, tree, argv, error, words):
    with pytest.raises(error, match=words):
        await run(argv)
    assert list(tree.iterdir()) == []


async def test_bad_places_are_errors(tree):
    with pytest.raises(InvalidInput, match="absolute"):
        Confinement(writable=(Path("relative"),))
    with pytest.raises(InvalidInput, match="does not exist"):
        await run_command(
            ["true"],
            cwd=tree,
            confinement=Confinement(writable=(tree, tree / "missing")),
            timeout_s=1,
        )
    with pytest.raises(InvalidInput, match="not a directory"):
        await run_command(
            ["true"], cwd=tree / "x", confinement=Confinement(writable=(tree,)), timeout_s=1
        )
    assert list(tree.iterdir()) == []


def test_bad_limits_are_errors():
    with pytest.raises(InvalidInput, match="limits.processes"):
        Limits(processes=0)
    with pytest.raises(InvalidInput, match="not a TCP port"):
        Network.loopback(70_000)


async def test_talking_to_a_process(tree):
    confinement = Confinement(writable=(tree,))
    async with await start_command(["cat"], cwd=tree, confinement=confinement) as process:
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            await process.stdin.drain()
            assert await process.stdout.readline() == line
        process.stdin.close()
        ending = await process.wait()
    assert ending.exit_code == 0
    assert ending == await process.wait()


async def test_killing_a_process(tree):
    confinement = Confinement(writable=(tree,))
    async with await start_command(["sleep", "60"], cwd=tree, confinement=confinement) as process:
        process.kill()
        ending = await process.wait()
    assert ending.stopped_by is StoppedBy.KILLED
    assert ending.signal == signal.SIGKILL


def test_this_machine_says_what_it_can_do():
    report = probe()
    assert report.level is Level.PROCESS
    assert "Landlock ABI" in report.reason


@pytest.mark.parametrize(
    ("platform", "machine", "abi", "seccomp", "level", "words"),
    [
        ("darwin", "arm64", 0, False, Level.NONE, "Linux only"),
        ("linux", "riscv64", 7, True, Level.NONE, "riscv64"),
        ("linux", "x86_64", 0, False, Level.NONE, "seccomp"),
        ("linux", "x86_64", 0, True, Level.WEAK, "no Landlock"),
        ("linux", "aarch64", 1, True, Level.PROCESS, "ABI 1"),
    ],
)
def test_every_machine_is_judged(platform, machine, abi, seccomp, level, words):
    found, reason = _judged(platform, machine, abi, seccomp=seccomp)
    assert found is level
    assert words in reason


async def test_without_landlock_it_is_refused(tree):
    weak = dataclasses.replace(probe(), level=Level.WEAK, landlock_abi=0, network=False)
    confinement = Confinement(writable=(tree,))
    with pytest.raises(Unavailable, match="administrator"):
        await start_at(weak, ["true"], cwd=tree, confinement=confinement)
    none = dataclasses.replace(weak, level=Level.NONE)
    with pytest.raises(Unavailable):
        require(none, allow_weak=True, inet=False)
    with pytest.raises(Unavailable, match="ABI 4"):
        require(weak, allow_weak=True, inet=True)


async def test_with_consent_the_weak_level_runs_and_says_so(tree):
    weak = dataclasses.replace(probe(), level=Level.WEAK, landlock_abi=0, network=False)
    confinement = Confinement(writable=(tree,), allow_weak=True)
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    async with await start_at(
        weak, [sys.executable, "-c", code], cwd=tree, confinement=confinement
    ) as process:
        said = json.loads(await process.stdout.read())
        ending = await process.wait()
    assert ending.level is Level.WEAK
    assert said["HOME"].endswith("/home")


async def test_the_broker_survives_nonsense(run):
    code = """
import ctypes, itertools, os, socket
libc = ctypes.CDLL(None, use_errno=True)
odd = [0, 1, -1, 2**31, 2**63, 2**64 - 1, 4096, -100]
calls = {call: number for call, number in NUMBERS.items()}
text = ctypes.addressof(ctypes.create_string_buffer(bytes(range(255, 0, -1)) * 40))
for number in calls.values():
    for a, b, c in itertools.product(odd, [*odd, text], odd):
        libc.syscall(*(ctypes.c_ulong(x) for x in (number, a, b, c, a)))
open("file", "w").close()
os.chmod("file", 0o640)
os.utime("file", ns=(-5, 2**62))
print(oct(os.stat("file").st_mode))
"""
    wanted = ("chmod", "fchmod", "fchmodat", "utimensat", "connect", "bind", "listen", "ioprio_set")
    machine = os.uname().machine
    found = {call: number(call, machine) for call in wanted if number(call, machine) is not None}
    result = await run(code.replace("NUMBERS", repr(found)), network=Network.LOOPBACK)
    assert result.stdout == b"0o100640\n", result.output
