"""A mission that lives in processes of the command line, and dies with them as often as a test wants."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from quarterdeck.cli.connection import connect
from quarterdeck.settings import load_settings

PROGRAM = str(Path(sys.executable).with_name("quarterdeck"))
MISSION = "mortal_1"
LIFE_S = 180.0
STRAY_S = 10.0
LINES = {"submit": 29, "watch": 29, "promote": 11}
"""How many lines each command tells, roughly, up to where the mission rests."""

CALC = """def clamp(value, low, high):
    if value < low:
        return low
    if value < high:
        return high
    return value
"""
TESTS = """from calc import clamp


def test_inside():
    assert clamp(5, 1, 10) == 5


def test_low():
    assert clamp(0, 1, 10) == 1


def test_high():
    assert clamp(50, 1, 10) == 10


def test_edges():
    assert (clamp(1, 1, 10), clamp(10, 1, 10)) == (1, 10)
"""
CODEMOD = """import pathlib, sys, time
file = pathlib.Path(sys.argv[1]) / "calc.py"
text = file.read_text()
file.write_text(text[:40])
time.sleep(0.3)
file.write_text(text.replace("if value < high", "if value > high"))
"""
"""It leaves the file half written for a while, so that a death can fall right into it."""


@dataclass
class Plan:
    """When a process dies; with neither `ahead` nor `delay_s` it lives on.

    `ahead` is a place between what was told before (0) and where the mission rests (1), `delay_s`
    the seconds after that place, else after the start.
    """

    ahead: float | None = None
    delay_s: float | None = None

    @classmethod
    def drawn(cls, chance: random.Random) -> Plan:
        """One that falls anywhere between the start and the end, on lines more often."""
        if chance.random() < 0.75:
            # Squared, so that several deaths find room in one mission.
            return cls(ahead=chance.random() ** 2, delay_s=chance.uniform(0, 0.3))
        return cls(delay_s=chance.uniform(0, 8))


@dataclass
class Mortal:
    """One installation with one mission in it."""

    root: Path
    implementer: str
    deaths: list[str] = field(default_factory=list)
    lines: int = 0

    def __post_init__(self) -> None:
        self.repository = self.root / "repository"
        self.data = self.root / "data"
        (self.repository / "tests").mkdir(parents=True)
        self.data.mkdir()
        (self.repository / "calc.py").write_text(CALC)
        (self.repository / "tests" / "test_calc.py").write_text(TESTS)
        (self.repository / "pyproject.toml").write_text(
            '[tool.pytest.ini_options]\npythonpath = ["."]\n'
        )
        tool = self.root / "codemod.py"
        tool.write_text(CODEMOD)
        settings: dict[str, Any] = {
            "model_servers": [],
            "coding": {"readable_paths": [str(tool)]},
        }
        (self.data / "settings.yaml").write_text(yaml.safe_dump(settings))
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")
        for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "Begin")):
            self.git(*identity, *words)

    def git(self, *words: str) -> str:
        ran = subprocess.run(
            ["git", "-C", str(self.repository), *words], check=True, capture_output=True, text=True
        )
        return ran.stdout.strip()

    def submission(self) -> list[str]:
        words = ["submit", "clamp is wrong inside the range", "--id", MISSION, "--auto"]
        words += ["--repo", str(self.repository), "--implementer", self.implementer]
        if self.implementer == "command":
            argv = [sys.executable, str(self.root / "codemod.py"), "{path}"]
            words += ["--option", f"argv={json.dumps(argv)}"]
        return words

    def live(self, words: list[str], plan: Plan) -> int | None:
        """Run one command until it ends or dies by `plan`; its exit code, None when it died."""
        process = subprocess.Popen(
            [PROGRAM, "mission", *words, "--data", str(self.data)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        fatal = self._line(words[0], plan)
        due = threading.Event()
        told: list[str] = []

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                told.append(line)
                if fatal is not None and len(told) >= fatal:
                    due.set()
            due.set()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            if fatal is not None:
                due.wait(LIFE_S)
            if plan.delay_s is not None:
                _ended_within(process, plan.delay_s or 0.0)
            else:
                process.wait(LIFE_S)
        finally:
            died = process.poll() is None
            process.kill()
            process.wait()
            reader.join()
            process.stdout.close()
        self.output = "".join(told)
        self.lines = len(told)
        assert "Traceback" not in self.output, self.output
        if died:
            last = told[-1].strip() if told else "before the first line"
            self.deaths.append(f"{words[0]}: {last}")
            return None
        return process.returncode

    def _line(self, command: str, plan: Plan) -> int | None:
        """The line after which a process of this command dies: of those that are new."""
        if plan.ahead is None:
            return None
        before = self.lines if command == "watch" else 0
        return before + 1 + int(plan.ahead * max(1, LINES[command] - before))

    def brought_to_its_end(self, plans: list[Plan]) -> None:
        """Submit, and go on after every death until the mission is promoted."""
        words, left = self.submission(), list(plans)
        for _ in range(len(plans) * 3 + 6):
            code = self.live(words, left.pop(0) if left else Plan())
            if code is None or (code == 1 and words[0] != "watch"):
                words = ["watch", MISSION]
            elif code == 3:
                words = ["promote", MISSION]
            elif code == 0:
                return
            elif code == 1 and "There is no mission" in self.output:
                words = self.submission()
            else:
                raise AssertionError(f"{words[0]} ended with {code}: {self.output}")
        raise AssertionError(f"it does not come to its end: {self.output}")

    async def events(self) -> list[dict[str, Any]]:
        """The mission's events, through the product's own door."""
        found: list[dict[str, Any]] = []
        async with connect(load_settings({"data_dir": self.data})) as api:
            while True:
                after = found[-1]["seq"] if found else 0
                page = (await api.get(f"/api/missions/{MISSION}/events", after=after))["events"]
                if not page:
                    return found
                found += page

    def strays(self) -> list[str]:
        """Processes that still have to do with this installation, after a moment of grace."""
        until = time.monotonic() + STRAY_S
        while (found := _processes_below(self.root)) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def half_files(self) -> list[Path]:
        """Drafts that were never put in place."""
        return [path for path in self.root.rglob("*.part*") if ".git" not in path.parts]


def _ended_within(process: subprocess.Popen[str], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _processes_below(root: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = os.readlink(entry / "cwd")
        except OSError:
            continue
        if str(root) in words or place.startswith(str(root)):
            found.append(f"{entry.name} {words[:200]}")
    return found


def repeated_steps(events: list[dict[str, Any]]) -> dict[str, int]:
    """Steps that finished more than once, or began again after they had finished."""
    finished: Counter[str] = Counter()
    for event in events:
        if event["type"] == "step.finished" or (
            event["type"] == "step.started" and finished[event["step"]]
        ):
            finished[event["step"]] += 1
    return {step: count for step, count in finished.items() if count > 1}
