"""Reads two reports that are documents of their own: jest's JSON and Visual Studio's TRX."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.parsers import expat

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

_JEST = {
    "passed": Outcome.PASSED,
    "failed": Outcome.FAILED,
    "pending": Outcome.SKIPPED,
    "skipped": Outcome.SKIPPED,
    "todo": Outcome.SKIPPED,
    "disabled": Outcome.SKIPPED,
}
_TRX = {
    "Passed": Outcome.PASSED,
    "Failed": Outcome.FAILED,
    "NotExecuted": Outcome.SKIPPED,
    "Inconclusive": Outcome.SKIPPED,
}
_DURATION = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")


def parse_jest(content: bytes, *, where: str | None = None) -> TestReport:
    """The document of `jest --json`; a test file that does not load is an error.

    Raises:
        BrokenReport: when it is not that document.
    """
    try:
        document = json.loads(text_of(content, where))
    except (ValueError, RecursionError) as error:
        raise BrokenReport(
            ReportFault.MALFORMED, f"It is not JSON: {error}.", where=where
        ) from None
    suites = document.get("testResults") if isinstance(document, dict) else None
    if not isinstance(suites, list):
        raise BrokenReport(ReportFault.MALFORMED, "It has no 'testResults'.", where=where)
    return report_of((case for suite in suites for case in _jest_suite(suite)), "jest")


def _jest_suite(suite: Any) -> Iterator[Case]:
    if not isinstance(suite, dict):
        return
    file = suite.get("name") if isinstance(suite.get("name"), str) else None
    tests = suite.get("assertionResults")
    tests = [t for t in tests if isinstance(t, dict)] if isinstance(tests, list) else []
    for test in tests:
        name = str(test.get("fullName") or test.get("title") or "")
        short = (file or "").rsplit("/", 1)[-1]
        messages = test.get("failureMessages")
        message = "\n".join(map(str, messages)) if isinstance(messages, list) else ""
        milliseconds = test.get("duration")
        known = isinstance(milliseconds, int | float) and milliseconds >= 0
        yield Case(
            f"{short}::{name}"[:NAME_MAX],
            _JEST.get(str(test.get("status")), Outcome.ERROR),
            milliseconds / 1000 if known else None,
            message[:MESSAGE_MAX],
            file,
        )
    if not tests and suite.get("status") == "failed":
        message = str(suite.get("message") or "The file could not be run.")
        name = f"{file}::(file)"[:NAME_MAX]
        yield Case(name, Outcome.ERROR, None, message[:MESSAGE_MAX], file, unloaded=True)


def parse_trx(content: bytes, *, where: str | None = None) -> TestReport:
    """A TRX file.

    Raises:
        BrokenReport: when it is broken, declares a document type, or is another XML document.
    """
    text_of(content, where)
    tags: list[str] = []
    cases: list[Case] = []

    def start(tag: str, attributes: Mapping[str, str]) -> None:
        tags.append(tag) if not tags else None
        if tag == "UnitTestResult":
            outcome = _TRX.get(attributes.get("outcome", ""), Outcome.ERROR)
            name = attributes.get("testName", "")[:NAME_MAX]
            cases.append(Case(name, outcome, _duration_s(attributes.get("duration", ""))))

    def doctype(*_rest: object) -> None:
        raise BrokenReport(ReportFault.FORBIDDEN, "It declares a document type.", where=where)

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        fault = ReportFault.TRUNCATED if tags == ["TestRun"] else ReportFault.MALFORMED
        raise BrokenReport(fault, f"It is not XML: {error}.", where=where) from None
    if tags != ["TestRun"]:
        raise BrokenReport(ReportFault.MALFORMED, f"<{tags[0]}> is no TRX report.", where=where)
    return report_of(cases, "trx")


def _duration_s(text: str) -> float | None:
    match = _DURATION.fullmatch(text)
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None
