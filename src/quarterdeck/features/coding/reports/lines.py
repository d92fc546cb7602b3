"""Reads reports that come line by line on a tool's standard output: Go, TAP and Cargo."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from quarterdeck.features.coding.reports.model import (
    MESSAGE_MAX,
    NAME_MAX,
    BrokenReport,
    Case,
    Outcome,
    ReportFault,
    TestReport,
    report_of,
    text_of,
)

_GO = {"pass": Outcome.PASSED, "fail": Outcome.FAILED, "skip": Outcome.SKIPPED}
_GO_MESSAGE_LINES = 40
_TAP_POINT = re.compile(
    r"(?P<not>not )?ok\b\s*(?P<number>\d+)?\s*-?\s*(?P<name>(?:[^#\\]|\\.)*)"
    r"(?:#\s*(?P<directive>skip|todo)\b.*)?",
    re.IGNORECASE,
)
_TAP_PLAN = re.compile(r"1\.\.(\d+)\b")
_CARGO_CASE = re.compile(
    r"test (?P<name>.+?)(?: - should panic)? \.\.\. (?P<word>ok|FAILED|ignored)\b"
)
_CARGO_TARGET = re.compile(r"\s+(?:Running (?:unittests )?(?P<path>\S+)|Doc-tests (?P<doc>\S+))")
_CARGO_MESSAGE = re.compile(r"---- (?P<name>.+?) stdout ----")
_CARGO = {"ok": Outcome.PASSED, "FAILED": Outcome.FAILED, "ignored": Outcome.SKIPPED}


def parse_go(content: bytes, *, where: str | None = None) -> TestReport:
    """`go test -json`: an id is `package::Test/sub`; a package that does not build is an error.

    Raises:
        BrokenReport: when no line is an event of a test, or a test never ended.
    """
    open_tests: dict[tuple[str, str], list[str]] = {}
    cases: list[Case] = []
    events = 0
    for event in _go_events(text_of(content, where)):
        events += 1
        package, test = str(event.get("Package", "")), event.get("Test")
        action = event.get("Action")
        if not isinstance(test, str):
            cases += _go_package(package, action, event, cases)
            continue
        key = (package, test)
        if action == "run":
            open_tests[key] = []
        elif action == "output" and len(open_tests.get(key, [])) < _GO_MESSAGE_LINES:
            open_tests.setdefault(key, []).append(str(event.get("Output", "")))
        elif isinstance(action, str) and action in _GO:
            output = "".join(open_tests.pop(key, []))
            message = output if action == "fail" else ""
            cases.append(_go_case(package, test, _GO[action], event, message))
    if not events:
        raise BrokenReport(ReportFault.MALFORMED, "No line is an event of `go test`.", where=where)
    for (package, test), output in open_tests.items():
        cases.append(
            _go_case(package, test, Outcome.ERROR, {}, "It never ended.\n" + "".join(output))
        )
    return report_of(cases, "go")


def _go_events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("Action"), str):
            yield event


def _go_package(
    package: str, action: object, event: dict[str, Any], cases: list[Case]
) -> list[Case]:
    """A package that fails though none of its tests did: it does not build, or it exited."""
    prefix = f"{package}::"
    red = any(c.id.startswith(prefix) and c.outcome is Outcome.FAILED for c in cases)
    if action != "fail" or red:
        return []
    return [_go_case(package, "(package)", Outcome.ERROR, event, "The package failed by itself.")]


def _go_case(
    package: str, test: str, outcome: Outcome, event: dict[str, Any], message: str
) -> Case:
    elapsed = event.get("Elapsed")
    duration_s = float(elapsed) if isinstance(elapsed, int | float) and elapsed >= 0 else None
    return Case(f"{package}::{test}"[:NAME_MAX], outcome, duration_s, message[:MESSAGE_MAX])


def parse_tap(content: bytes, *, where: str | None = None) -> TestReport:
    """Test Anything Protocol 12–14, its top level; a point's id is its description.

    Raises:
        BrokenReport: without a plan or a point, after a bail-out, or with fewer points than planned.
    """
    cases: list[Case] = []
    planned: int | None = None
    for number, line in enumerate(text_of(content, where).splitlines(), start=1):
        if line.startswith("Bail out!"):
            place = f"{where or 'report'}:{number}"
            raise BrokenReport(ReportFault.TRUNCATED, line[:200], where=place)
        if plan := _TAP_PLAN.match(line):
            planned = int(plan[1][:9])
        elif point := _TAP_POINT.match(line):
            cases.append(_tap_case(point, len(cases) + 1))
    if planned is None and not cases:
        raise BrokenReport(ReportFault.MALFORMED, "It holds neither plan nor points.", where=where)
    if planned is None or len(cases) < planned:
        shown = "no plan" if planned is None else f"a plan of {planned}"
        raise BrokenReport(
            ReportFault.TRUNCATED, f"It holds {len(cases)} points and {shown}.", where=where
        )
    return report_of(cases, "tap")


def _tap_case(point: re.Match[str], position: int) -> Case:
    name = (point["name"] or "").strip().replace("\\#", "#")
    directive = (point["directive"] or "").lower()
    outcome = Outcome.FAILED if point["not"] else Outcome.PASSED
    if directive == "skip" or (directive == "todo" and point["not"]):
        outcome = Outcome.SKIPPED
    return Case((name or f"point {point['number'] or position}")[:NAME_MAX], outcome)


def parse_cargo(content: bytes, *, where: str | None = None) -> TestReport:
    """The text of `cargo test`; an id is `target::test`.

    Raises:
        BrokenReport: when no test binary finished, as when the crate does not compile.
    """
    text = text_of(content, where)
    messages = _cargo_messages(text)
    cases: list[Case] = []
    target, finished, started = "", 0, 0
    for line in text.splitlines():
        if match := _CARGO_TARGET.match(line):
            target = match["path"] or f"doc {match['doc']}"
        elif re.match(r"running \d+ tests?$", line):
            started += 1
        elif line.startswith("test result: "):
            finished += 1
        elif match := _CARGO_CASE.match(line):
            outcome = _CARGO[match["word"]]
            message = messages.get(match["name"], "") if outcome is Outcome.FAILED else ""
            cases.append(Case(f"{target}::{match['name']}"[:NAME_MAX], outcome, message=message))
    if not finished or finished < started:
        fault = ReportFault.TRUNCATED if started else ReportFault.MALFORMED
        raise BrokenReport(fault, "A test binary did not finish, or none was built.", where=where)
    return report_of(cases, "cargo")


def _cargo_messages(text: str) -> dict[str, str]:
    messages: dict[str, str] = {}
    current: list[str] | None = None
    name = ""
    for line in [*text.splitlines(), "failures:"]:
        match = _CARGO_MESSAGE.match(line)
        if match or line == "failures:":
            if current is not None:
                messages[name] = "\n".join(current).strip()[:MESSAGE_MAX]
            current = [] if match else None
            name = match["name"] if match else ""
        elif current is not None and len(current) < 200:
            current.append(line)
    return messages
