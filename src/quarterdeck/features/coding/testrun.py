"""Runs set-up, build and tests in a tree, confined, and believes the report, not the exit code."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from quarterdeck.confine import (
    CommandResult,
    Confinement,
    Limits,
    Network,
    StoppedBy,
    run_command,
)
from quarterdeck.core.errors import InvalidInput, NotFound
from quarterdeck.features.coding import globs
from quarterdeck.features.coding.commands import Command, Commands, ReportFormat
from quarterdeck.features.coding.detect.tree import read_regular
from quarterdeck.features.coding.reports import (
    BrokenReport,
    Outcome,
    ReportFault,
    TestReport,
    parse_all,
)
from quarterdeck.features.coding.reports.model import SIZE_MAX

OUTPUT_TAIL = 16_000
REPORT_FILES_MAX = 5000
WALK_MAX = 200_000
_PRINTED = frozenset({ReportFormat.GO_JSON, ReportFormat.CARGO, ReportFormat.TAP})
_MISSING_MODULE = re.compile(r"No module named '([\w.]+)'")
_ENV: Mapping[str, str] = {"CI": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}


class Standing(StrEnum):
    """What a run of the tests on the base commit says about the commands (research §3.2)."""

    PROVED = "proved"
    RED_ON_BASE = "red-on-base"
    COULD_NOT_RUN = "could-not-run"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Place:
    """Where commands run.

    `tree` is the checkout and may be written by them; `scratch` is an existing private directory
    outside of it for reports, HOME and temporary files. `readable` adds places to those that each
    command names itself.
    """

    tree: Path
    scratch: Path
    readable: tuple[Path, ...] = ()
    network: Network = Network.NONE
    limits: Limits = field(default_factory=Limits)
    allow_weak: bool = False


@dataclass(frozen=True, slots=True)
class CommandRun:
    """One command that ran; `output` is the end of what it printed."""

    name: str
    argv: tuple[str, ...]
    provenance: str
    exit_code: int | None
    signal: int | None
    stopped_by: str | None
    duration_s: float
    level: str
    output: str

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and self.stopped_by is None

    def ended(self) -> str:
        """How it ended, for a person."""
        if self.stopped_by == StoppedBy.TIMEOUT:
            return f"was stopped after {self.duration_s:.0f} s"
        if self.stopped_by is not None:
            return f"was stopped by the limit {self.stopped_by}"
        if self.signal is not None:
            return f"was ended by signal {self.signal}"
        return f"ended with exit code {self.exit_code}"

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "argv": list(self.argv),
            "provenance": self.provenance,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "stopped_by": self.stopped_by,
            "duration_s": round(self.duration_s, 3),
            "level": self.level,
        }


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run: its commands, its report, or the `trouble` that left it without one.

    `report_digest` is the SHA-256 over the bytes of the report files. `flaky` are the ids whose
    outcome changed in a second run, None where none was asked for. `planted` says that a test
    planted to fail ran along (and was taken out of the report), so exit code 1 is right.
    """

    commands: tuple[CommandRun, ...]
    report: TestReport | None = None
    report_digest: str | None = None
    trouble: str | None = None
    flaky: frozenset[str] | None = None
    planted: bool = False

    @property
    def test(self) -> CommandRun | None:
        return next((c for c in self.commands if c.name == "test"), None)

    @property
    def standing(self) -> Standing:
        """What this run says; an exit code alone never proves anything."""
        if self.report is None:
            return Standing.COULD_NOT_RUN if self.trouble else Standing.NONE
        counts = self.report.counts
        if counts.total == 0:
            return Standing.NONE
        if _lacks_modules(self.report):
            return Standing.COULD_NOT_RUN
        right = self.test is not None and (self.test.ok or self._ended_as_planted(self.test))
        green = right and not self.report.red
        if green and counts.passed:
            return Standing.PROVED
        return Standing.NONE if green else Standing.RED_ON_BASE

    def _ended_as_planted(self, test: CommandRun) -> bool:
        return self.planted and test.exit_code == 1 and test.stopped_by is None

    @property
    def duration_s(self) -> float:
        return sum(command.duration_s for command in self.commands)


def _lacks_modules(report: TestReport) -> bool:
    """Whether not one test ran, each for want of a module: a broken environment, not a red test."""
    cases = list(report.cases.values())
    return bool(cases) and all(
        case.outcome is Outcome.ERROR and _MISSING_MODULE.search(case.message) for case in cases
    )


async def run_tests(
    commands: Commands,
    place: Place,
    *,
    env: Mapping[str, str] | None = None,
    twice: bool = False,
    on_output: Callable[[bytes], None] | None = None,
) -> Run:
    """Set up, build and test `place.tree`; with `twice` the tests run again to find flaky ones.

    `env` goes over the commands' own variables. Whatever the commands do ends in a `Run`: it
    raises only when confinement itself is not to be had (`Unavailable`).
    """
    try:
        return await _ran(commands, place, env or {}, twice, on_output)
    except (NotFound, InvalidInput) as error:
        return Run((), trouble=f"A command cannot be started: {error}")


async def _ran(
    commands: Commands,
    place: Place,
    env: Mapping[str, str],
    twice: bool,
    on_output: Callable[[bytes], None] | None,
) -> Run:
    done: list[CommandRun] = []
    for name in ("setup", "build"):
        command: Command | None = getattr(commands, name)
        if command is None:
            continue
        ran, _ = await _run(name, command, place, _no_report(), env, on_output)
        done.append(ran)
        if not ran.ok:
            return Run(tuple(done), trouble=f"{_shown(command)} {ran.ended()}.")
    if commands.test is None:
        return Run(tuple(done))
    first = await _tested(commands.test, place, env, on_output)
    first = replace(first, commands=(*done, *first.commands))
    if not twice or first.report is None:
        return first
    again = await _tested(commands.test, place, env, on_output)
    return replace(first, flaky=differing(first.report, again.report))


async def prove(
    candidates: Sequence[Commands],
    checkout: Callable[[], Awaitable[Place]],
    *,
    on_output: Callable[[bytes], None] | None = None,
) -> tuple[Commands | None, Run | None, tuple[tuple[Commands, Run], ...]]:
    """The first of the ranked candidates that runs on the base, its run, and all that was tried.

    `checkout` gives a fresh, clean tree of the base each time. Candidates that are labelled
    `unproved` are not run.
    """
    tried: list[tuple[Commands, Run]] = []
    for commands in candidates:
        if commands.unproved is not None:
            continue
        run = await run_tests(commands, await checkout(), on_output=on_output)
        tried.append((commands, run))
        if run.standing in (Standing.PROVED, Standing.RED_ON_BASE):
            return commands, run, tuple(tried)
    return None, None, tuple(tried)


def differing(first: TestReport, again: TestReport | None) -> frozenset[str]:
    """The ids whose outcome is not the same in both reports."""
    if again is None:
        return frozenset(first.cases)
    ids = first.cases.keys() | again.cases.keys()
    return frozenset(id for id in ids if _outcome(first, id) != _outcome(again, id))


def _outcome(report: TestReport, id: str) -> Outcome | None:
    case = report.cases.get(id)
    return case.outcome if case else None


async def _tested(
    command: Command,
    place: Place,
    env: Mapping[str, str],
    on_output: Callable[[bytes], None] | None,
) -> Run:
    target = _Target(place, command)
    before = await asyncio.to_thread(target.stamps)
    ran, result = await _run("test", command, place, target.file, env, on_output)
    try:
        contents = await asyncio.to_thread(target.contents, before, result)
        assert command.report is not None, "detection and override give every test a report"
        report = await asyncio.to_thread(parse_all, command.report, contents)
    except BrokenReport as error:
        trouble = f"{_shown(command)} {ran.ended()} and left no report to believe: {error}"
        return Run((ran,), trouble=trouble)
    digest = hashlib.sha256(b"\0".join(contents)).hexdigest()
    return Run((ran,), report=report, report_digest=digest)


class _Target:
    """Where one test command's report is expected, fresh for each run."""

    def __init__(self, place: Place, command: Command) -> None:
        self.home = place.scratch / f"report-{secrets.token_hex(8)}"
        self.home.mkdir(mode=0o700)
        self.file = self.home / f"{secrets.token_hex(8)}.xml"
        self._root = place.tree / command.directory
        self._command = command

    def stamps(self) -> dict[str, tuple[int, int, int]]:
        """The report files that lie in the tree already: a stale one must not be believed."""
        return {path: _stamp(self._root / path) for path in self._matching()}

    def contents(
        self, before: Mapping[str, tuple[int, int, int]], result: CommandResult
    ) -> list[bytes]:
        """The bytes of the report files, sorted by path.

        Raises:
            BrokenReport: when there are none, too many, or the printed report was cut.
        """
        if self._command.report_glob is not None:
            return self._found(before)
        placed = any("{report}" in w for w in (*self._command.argv, *self._command.env.values()))
        if not placed and self._command.report in _PRINTED:
            if result.truncated:
                raise BrokenReport(ReportFault.TOO_LARGE, "More was printed than is kept.")
            return [result.stdout]
        return [self._read(self.file)]

    def _found(self, before: Mapping[str, tuple[int, int, int]]) -> list[bytes]:
        fresh = [p for p in self._matching() if _stamp(self._root / p) != before.get(p)]
        if len(fresh) > REPORT_FILES_MAX:
            raise BrokenReport(
                ReportFault.TOO_LARGE, f"There are more than {REPORT_FILES_MAX} report files."
            )
        contents: list[bytes] = []
        for path in sorted(fresh):
            contents.append(self._read(self._root / path))
            if sum(map(len, contents)) > SIZE_MAX:
                raise BrokenReport(ReportFault.TOO_LARGE, "The report files are too large.")
        return contents

    def _read(self, path: Path) -> bytes:
        if path.parent.resolve() != path.parent:
            raise BrokenReport(ReportFault.FORBIDDEN, "The report's directory became a link.")
        content = read_regular(path, limit=SIZE_MAX)
        if content is not None:
            return content
        if path.exists():
            raise BrokenReport(ReportFault.TOO_LARGE, "The report is too large, or a link.")
        raise BrokenReport(ReportFault.MISSING, "No report was written.")

    def _matching(self) -> Iterator[str]:
        pattern = self._command.report_glob
        if pattern is None:
            return
        count = 0
        for directory, names, files in os.walk(self._root):
            names[:] = [name for name in names if name not in (".git", "node_modules")]
            for name in files:
                count += 1
                path = os.path.relpath(os.path.join(directory, name), self._root)
                if globs.matches(path, pattern):
                    yield path
            if count > WALK_MAX:
                return


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.lstat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _no_report() -> Path:
    return Path("/nonexistent-report")


async def _run(
    name: str,
    command: Command,
    place: Place,
    report: Path,
    env: Mapping[str, str],
    on_output: Callable[[bytes], None] | None,
) -> tuple[CommandRun, CommandResult]:
    def filled(text: str) -> str:
        return text.replace("{report}", str(report)).replace("{tree}", str(place.tree))

    limits = place.limits
    if command.report in _PRINTED:
        limits = replace(limits, output_bytes=max(limits.output_bytes, SIZE_MAX))
    readable = (*place.readable, *(Path(path) for path in command.readable))
    confinement = Confinement(
        readable=tuple(path for path in readable if path.exists()),
        writable=(place.scratch, place.tree),
        network=place.network,
        limits=limits,
        allow_weak=place.allow_weak,
    )
    argv = tuple(filled(word) for word in command.argv)
    variables = {**_ENV, **_toolchain_homes(), **command.env, **env}
    result = await run_command(
        argv,
        cwd=place.tree / command.directory,
        confinement=confinement,
        env={key: filled(value) for key, value in variables.items()},
        timeout_s=command.timeout_s,
        on_output=on_output,
    )
    return _command_run(name, command, result), result


def _toolchain_homes() -> dict[str, str]:
    """Where version managers keep what they start, since HOME is private in confinement."""
    rustup = os.environ.get("RUSTUP_HOME") or str(Path.home() / ".rustup")
    return {"RUSTUP_HOME": rustup} if Path(rustup).exists() else {}


def _command_run(name: str, command: Command, result: CommandResult) -> CommandRun:
    return CommandRun(
        name=name,
        argv=command.argv,
        provenance=command.provenance,
        exit_code=result.exit_code,
        signal=result.signal,
        stopped_by=result.stopped_by.value if result.stopped_by else None,
        duration_s=result.duration_s,
        level=str(result.level),
        output=result.output[-OUTPUT_TAIL:].decode("utf-8", errors="replace"),
    )


def _shown(command: Command) -> str:
    return "`" + " ".join(command.argv)[:200] + "`"
