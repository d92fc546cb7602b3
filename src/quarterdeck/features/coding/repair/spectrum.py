"""What running the tests shows: outcomes, times, covered lines, faults; measured in the target."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from quarterdeck.core.events import Json
from quarterdeck.features.coding.repair.forkserver_client import ForkServer

Tell = Callable[[str, Mapping[str, Json]], None]
"""Progress: a sentence and its figures."""

FAILING_TRACED_MAX = 24
PASSING_TRACE_S_MAX = 10.0
STALL_S_MAX = 10.0
NOT_RAISED = re.compile(r"DID NOT RAISE (?:<class ')?(?:[\w.]*\.)?(\w+)|(\w+) not raised")
_STALL_S_MIN = 1.5
_STALL_FACTOR = 20.0
EVENTS_MAX = 2_000_000
_Lines = Mapping[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Fault:
    """How a test failed; `frames` are (file, line, function) of the project, outermost first.

    `missing` is the name the error complains about, `close` are existing names like it, `locals`
    the type names of the innermost project frame.
    """

    type: str
    text: str
    bases: tuple[str, ...] = ()
    frames: tuple[tuple[str, int, str], ...] = ()
    missing: str | None = None
    close: tuple[str, ...] = ()
    locals: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, message: Mapping[str, Json]) -> Fault:
        return cls(
            type=message["type"],
            text=message["text"],
            bases=tuple(message["bases"]),
            frames=tuple((file, line, name) for file, line, name in message["frames"]),
            missing=message["missing"],
            close=tuple(message["close"]),
            locals=message["locals"],
        )


@dataclass(slots=True)
class TestRun:
    """One test as it ran on the unpatched project; `passed` is None when it was not reached."""

    __test__ = False

    id: str
    passed: bool | None = None
    skipped: bool = False
    seconds: float = 0.0
    hung: bool = False
    lines: _Lines | None = None
    events: int = 0
    fault: Fault | None = None


@dataclass(slots=True)
class Spectrum:
    """All tests in file order, those to repair (`failing`, by index), and collection faults.

    `entered` are the functions failing tests ran, `imported` the lines that ran before any test.
    """

    tests: list[TestRun]
    test_files: tuple[str, ...]
    uncollected: dict[str, Fault] = field(default_factory=dict)
    failing: tuple[int, ...] = ()
    entered: set[tuple[str, str, int]] = field(default_factory=set)
    imported: dict[str, frozenset[int]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def awaits_exception(self) -> bool:
        """Whether a failing test waits in vain for an exception, as its framework words it."""
        faults = [self.tests[index].fault for index in self.failing]
        return any(fault is not None and NOT_RAISED.search(fault.text) for fault in faults)

    def runs_in_tests(self, file: str, line: int) -> bool:
        """Whether a failing test runs the line, rather than only the import before."""
        return any(line in (self.tests[i].lines or {}).get(file, ()) for i in self.failing)

    def covering(self, lines: Collection[tuple[str, int]]) -> list[int]:
        """The passing tests that ran one of the lines, and those of unknown coverage, in order."""
        return [
            index
            for index, test in enumerate(self.tests)
            if test.passed
            and not test.skipped
            and (
                test.lines is None or any(line in test.lines.get(file, ()) for file, line in lines)
            )
        ]


async def collect(server: ForkServer) -> Spectrum:
    """Wait for the server's collection and note what it found."""
    tests: list[TestRun] = []
    uncollected: dict[str, Fault] = {}
    imported: dict[str, frozenset[int]] = {}
    while True:
        message = await server.receive()
        match message["event"]:
            case "tests":
                tests.extend(TestRun(name) for name in message["ids"])
            case "uncollected":
                uncollected[message["node"]] = Fault.read(message["fault"])
            case "imported":
                imported[message["file"]] = frozenset(message["lines"])
            case _:
                files = tuple(message["files"])
                return Spectrum(tests, files, uncollected, imported=imported)


async def measure(
    server: ForkServer, wanted: Sequence[str], *, budget_s: float, tell: Tell
) -> Spectrum:
    """Collect, run everything, then trace the failing tests and the passing ones beside them.

    `wanted` are ids of tests to repair; when none of them fails here, all failing ones are.
    """
    spectrum = await collect(server)
    start = time.monotonic()
    await _run_all(server, spectrum, budget_s * 0.4, tell)
    failing = [index for index, test in enumerate(spectrum.tests) if test.passed is False]
    named = {_canonical(name) for name in wanted}
    chosen = [index for index in failing if _canonical(spectrum.tests[index].id) in named]
    spectrum.failing = tuple(chosen or failing)
    await _trace_failing(server, spectrum, budget_s * 0.15)
    await trace_passing(server, spectrum, min(PASSING_TRACE_S_MAX, budget_s * 0.2), tell)
    spectrum.seconds = time.monotonic() - start
    return spectrum


def _canonical(name: str) -> str:
    """A test's id with dots for all separators, as JUnit reports and pytest agree on."""
    plain, bracket, parameters = name.partition("[")
    return re.sub(r"\.py(?=::|$)|::|/", lambda m: "." if m[0] != ".py" else "", plain) + (
        bracket + parameters
    )


async def _run_all(server: ForkServer, spectrum: Spectrum, budget_s: float, tell: Tell) -> None:
    """Run every test; one that hangs or kills the process counts as failed and we go on after."""
    deadline = time.monotonic() + budget_s
    todo = list(range(len(spectrum.tests)))
    stall_s = min(STALL_S_MAX, budget_s / 4)
    while todo and (left_s := deadline - time.monotonic()) > 0:
        request = {"op": "run", "tests": todo, "timeout_s": left_s, "stall_s": stall_s}
        done = 0
        async for message in server.stream(request):
            if message["event"] == "outcome":
                test = spectrum.tests[message["test"]]
                test.passed, test.skipped = message["passed"], message["skipped"]
                test.seconds = message["seconds"]
                done += 1
                ran = len(spectrum.tests) - len(todo) + done
                tell("Running the tests", {"tests_run": ran, "tests": len(spectrum.tests)})
        if done < len(todo):
            stuck = spectrum.tests[todo[done]]
            stuck.passed, stuck.hung = False, True
            # One hang makes more hangs likely: now what the other tests took is the measure.
            slowest_s = max(test.seconds for test in spectrum.tests)
            stall_s = min(stall_s, max(_STALL_S_MIN, _STALL_FACTOR * slowest_s))
        todo = todo[done + 1 :]


async def _trace_failing(server: ForkServer, spectrum: Spectrum, budget_s: float) -> None:
    deadline = time.monotonic() + budget_s
    for index in spectrum.failing[:FAILING_TRACED_MAX]:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return
        test = spectrum.tests[index]
        request = {"op": "trace_failing", "test": index, "events_max": EVENTS_MAX}
        async for message in server.stream(request | {"timeout_s": max(left_s, 1.0)}):
            if message["event"] == "traced":
                test.lines = _lines(message["lines"])
                test.events = message["events"]
                test.hung = test.hung or message["hung"]
                test.fault = Fault.read(message["fault"]) if message["fault"] else None
                spectrum.entered |= {(f, name, line) for f, name, line in message["entered"]}


async def trace_passing(
    server: ForkServer, spectrum: Spectrum, budget_s: float, tell: Tell
) -> None:
    """Note for each passing test which lines of the `entered` functions it runs."""
    passing = [i for i, test in enumerate(spectrum.tests) if test.passed and not test.skipped]
    if not passing or not spectrum.entered:
        return
    functions = [list(key) for key in sorted(spectrum.entered)]
    request = {"op": "trace_passing", "tests": passing, "functions": functions}
    done = 0
    async for message in server.stream(request | {"timeout_s": budget_s}):
        if message["event"] == "covered":
            test = spectrum.tests[message["test"]]
            test.lines, test.events = _lines(message["lines"]), message["events"]
            done += 1
            tell("Tracing the passing tests", {"tests_run": done, "tests": len(passing)})


def _lines(message: Mapping[str, Sequence[int]]) -> _Lines:
    return {file: frozenset(lines) for file, lines in message.items()}
