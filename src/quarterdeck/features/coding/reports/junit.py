"""Reads JUnit XML as pytest, surefire, gradle, ctest, node, vitest and others write it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
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

DEPTH_MAX = 64
_UNLOADED = "collection failure"
"""How pytest says that a file of tests could not be imported."""
_OUTCOMES = {"failure": Outcome.FAILED, "error": Outcome.ERROR, "skipped": Outcome.SKIPPED}
_WEIGHT = {Outcome.PASSED: 0, Outcome.SKIPPED: 1, Outcome.FAILED: 2, Outcome.ERROR: 3}


def parse(content: bytes, *, where: str | None = None) -> TestReport:
    """The report in `content`; suites may nest.

    An id is `classname::name`; without a class the names of the suites around it stand in.

    Raises:
        BrokenReport: empty, HTML, truncated, malformed, with entities, or over the limits.
    """
    text_of(content, where)
    reader = _Reader(where)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise _broken(error, reader, where) from None
    except (ValueError, LookupError) as error:
        raise BrokenReport(ReportFault.MALFORMED, f"It is not XML: {error}.", where=where) from None
    if not reader.is_report:
        raise BrokenReport(
            ReportFault.MALFORMED, f"<{reader.root}> is no JUnit report.", where=where
        )
    return report_of(reader.cases, "junit")


def _broken(error: expat.ExpatError, reader: _Reader, where: str | None) -> BrokenReport:
    ended = error.code in (
        expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS],
        expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN],
        expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION],
        expat.errors.codes[expat.errors.XML_ERROR_PARTIAL_CHAR],
    )
    place = f"{where or 'report'}:{error.lineno}"
    reason = expat.errors.messages[error.code]
    if ended and reader.root is not None:
        return BrokenReport(
            ReportFault.TRUNCATED, f"The report ends in its middle: {reason}.", where=place
        )
    return BrokenReport(ReportFault.MALFORMED, f"It is not XML: {reason}.", where=place)


@dataclass(slots=True)
class _Open:
    """The test case that is being read."""

    name: str
    group: str
    file: str | None
    duration_s: float | None
    outcome: Outcome = Outcome.PASSED
    message: str = ""
    taking: list[str] | None = None


@dataclass(slots=True)
class _Reader:
    where: str | None
    root: str | None = None
    cases: list[Case] = field(default_factory=list)
    _depth: int = 0
    _suites: list[str] = field(default_factory=list)
    _case: _Open | None = None

    @property
    def is_report(self) -> bool:
        return self.root in ("testsuites", "testsuite")

    def doctype(self, *_rest: object) -> None:
        raise BrokenReport(
            ReportFault.FORBIDDEN, "The report declares a document type.", where=self.where
        )

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise BrokenReport(
                ReportFault.MALFORMED, f"It nests deeper than {DEPTH_MAX}.", where=self.where
            )
        self.root = self.root or tag
        if tag == "testsuite":
            self._suites.append(attributes.get("name", ""))
        elif tag == "testcase" and self._case is None:
            self._case = self._opened(attributes)
        elif self._case is not None and tag in _OUTCOMES:
            self._judged(self._case, tag, attributes)

    def _opened(self, attributes: Mapping[str, str]) -> _Open:
        suites = [name for name in self._suites if name]
        group = attributes.get("classname") or ".".join(suites)
        case = _Open(
            attributes.get("name", "")[:NAME_MAX],
            group[:NAME_MAX],
            attributes.get("file"),
            seconds(attributes.get("time")),
        )
        # CTest says it in an attribute.
        if attributes.get("status") in ("notrun", "disabled"):
            case.outcome = Outcome.SKIPPED
        elif attributes.get("status") == "fail":
            case.outcome = Outcome.FAILED
        return case

    def _judged(self, case: _Open, tag: str, attributes: Mapping[str, str]) -> None:
        outcome = _OUTCOMES[tag]
        if _WEIGHT[outcome] >= _WEIGHT[case.outcome]:
            case.outcome = outcome
            case.message = attributes.get("message", "")[:MESSAGE_MAX]
            case.taking = []

    def text(self, data: str) -> None:
        if self._case is not None and self._case.taking is not None:
            self._case.taking.append(data)

    def end(self, tag: str) -> None:
        self._depth -= 1
        if tag == "testsuite":
            self._suites.pop()
        elif self._case is not None and tag in _OUTCOMES and self._case.taking is not None:
            body = "".join(self._case.taking).strip()
            self._case.message = f"{self._case.message}\n{body}".strip()[:MESSAGE_MAX]
            self._case.taking = None
        elif self._case is not None and tag == "testcase":
            self.cases.append(_closed(self._case))
            self._case = None


def _closed(case: _Open) -> Case:
    id = f"{case.group}::{case.name}" if case.group else case.name
    unloaded = case.outcome is Outcome.ERROR and case.message.startswith(_UNLOADED)
    return Case(id, case.outcome, case.duration_s, case.message, case.file, unloaded)


def seconds(text: str | None) -> float | None:
    """A duration as tools write it (`0.5`, `1,024.5`), None when it is none."""
    try:
        value = float((text or "").replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def node_id(case: Case) -> str | None:
    """The pytest node id of a case that names its file, None for one that does not."""
    if case.file is None or not case.file.endswith(".py"):
        return None
    group, _, name = case.id.rpartition("::")
    module = case.file.removesuffix(".py").replace("/", ".")
    if group != module and not group.startswith(f"{module}."):
        return None
    classes = group.removeprefix(module).strip(".").replace(".", "::")
    return "::".join(part for part in (case.file, classes, name) if part)
