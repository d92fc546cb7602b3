"""What a test run said, test by test, whatever tool wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from quarterdeck.core.errors import InvalidInput

CASES_MAX = 200_000
SIZE_MAX = 64 * 1024 * 1024
MESSAGE_MAX = 4000
NAME_MAX = 1000


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    """An assertion did not hold."""
    ERROR = "error"
    """The test could not do its work: a broken import, a fixture, a crash."""
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Case:
    """One test. `duration_s` and `file` are None where the tool does not tell.

    With `unloaded` it stands for all tests of a `file` that could not be loaded.
    """

    id: str
    outcome: Outcome
    duration_s: float | None = None
    message: str = ""
    file: str | None = None
    unloaded: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    passed: int
    failed: int
    error: int
    skipped: int

    @property
    def total(self) -> int:
        return self.passed + self.failed + self.error + self.skipped


@dataclass(frozen=True, slots=True)
class TestReport:
    """The cases by id. An id that a tool reports again gets the suffix `#2`, `#3`…"""

    __test__ = False  # pytest would take the name for a class of tests

    cases: Mapping[str, Case]
    tool: str

    def ids(self, *outcomes: Outcome) -> frozenset[str]:
        """The ids whose outcome is one of `outcomes`."""
        return frozenset(id for id, case in self.cases.items() if case.outcome in outcomes)

    @property
    def red(self) -> frozenset[str]:
        return self.ids(Outcome.FAILED, Outcome.ERROR)

    @property
    def counts(self) -> Counts:
        outcomes = [case.outcome for case in self.cases.values()]
        return Counts(*(outcomes.count(outcome) for outcome in Outcome))

    @property
    def duration_s(self) -> float:
        """The sum of the durations that are known."""
        return sum(case.duration_s or 0.0 for case in self.cases.values())


class ReportFault(StrEnum):
    MISSING = "missing"
    EMPTY = "empty"
    HTML = "html"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    FORBIDDEN = "forbidden"
    """A document type or entities, which a report never needs."""
    TOO_LARGE = "too-large"


class BrokenReport(InvalidInput):
    """A report that cannot be believed; `fault` names the kind of damage."""

    title = "Broken test report"

    def __init__(self, fault: ReportFault, message: str, *, where: str | None = None) -> None:
        super().__init__(message, where=where)
        self.fault = fault


def report_of(cases: Iterable[Case], tool: str) -> TestReport:
    """A report over `cases`, with ids made distinct.

    Raises:
        BrokenReport: with more than `CASES_MAX` cases.
    """
    by_id: dict[str, Case] = {}
    seen: dict[str, int] = {}
    for case in cases:
        if len(by_id) >= CASES_MAX:
            raise BrokenReport(
                ReportFault.TOO_LARGE, f"The report holds more than {CASES_MAX} tests."
            )
        count = seen.get(case.id, 0) + 1
        seen[case.id] = count
        id = case.id if count == 1 else _free(f"{case.id}#{count}", by_id)
        by_id[id] = replace(case, id=id)
    return TestReport(by_id, tool)


def _free(id: str, taken: Mapping[str, Case]) -> str:
    while id in taken:
        id += "+"
    return id


def text_of(content: bytes, where: str | None) -> str:
    """The report's text, after the checks that hold for every format.

    Raises:
        BrokenReport: empty, too large, or an HTML page.
    """
    if len(content) > SIZE_MAX:
        raise BrokenReport(
            ReportFault.TOO_LARGE,
            f"The report holds {len(content)} bytes; {SIZE_MAX} is the limit.",
            where=where,
        )
    head = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not content.strip():
        raise BrokenReport(ReportFault.EMPTY, "The report is empty.", where=where)
    if head.startswith((b"<!doctype html", b"<html")):
        raise BrokenReport(ReportFault.HTML, "The report is an HTML page.", where=where)
    return content.decode("utf-8", errors="replace")


def as_ctrf(report: TestReport, *, start_ms: int, stop_ms: int) -> dict[str, Any]:
    """The report in the Common Test Report Format (CTRF 1.0), for `test_execution.json` (DOC-2).

    `start_ms` and `stop_ms` are milliseconds since 1970. CTRF knows no errors apart from failures,
    so they count as `failed` with `rawStatus` "error".
    """
    counts = report.counts
    return {
        "reportFormat": "CTRF",
        "specVersion": "1.0.0",
        "results": {
            "tool": {"name": report.tool},
            "summary": {
                "tests": counts.total,
                "passed": counts.passed,
                "failed": counts.failed + counts.error,
                "skipped": counts.skipped,
                "pending": 0,
                "other": 0,
                "start": start_ms,
                "stop": stop_ms,
                "duration": round(report.duration_s * 1000),
            },
            "tests": [_ctrf_case(case) for case in report.cases.values()],
        },
    }


def _ctrf_case(case: Case) -> dict[str, Any]:
    status = "failed" if case.outcome is Outcome.ERROR else case.outcome.value
    test: dict[str, Any] = {
        "name": case.id,
        "status": status,
        "duration": round((case.duration_s or 0.0) * 1000),
        "rawStatus": case.outcome.value,
    }
    if case.message:
        test["message"] = case.message
    if case.file:
        test["filePath"] = case.file
    return test
