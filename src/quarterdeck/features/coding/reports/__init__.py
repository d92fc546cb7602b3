"""Test reports of every format as one `TestReport`; what is broken is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from quarterdeck.features.coding.commands import ReportFormat
from quarterdeck.features.coding.reports import documents, junit, lines
from quarterdeck.features.coding.reports.junit import node_id
from quarterdeck.features.coding.reports.model import (
    BrokenReport,
    Case,
    Counts,
    Outcome,
    ReportFault,
    TestReport,
    as_ctrf,
    report_of,
)

__all__ = [
    "BrokenReport",
    "Case",
    "Counts",
    "Outcome",
    "ReportFault",
    "TestReport",
    "as_ctrf",
    "node_id",
    "parse",
    "parse_all",
]

_PARSERS: Mapping[ReportFormat, Callable[[bytes], TestReport]] = {
    ReportFormat.JUNIT: junit.parse,
    ReportFormat.GO_JSON: lines.parse_go,
    ReportFormat.TAP: lines.parse_tap,
    ReportFormat.CARGO: lines.parse_cargo,
    ReportFormat.JEST: documents.parse_jest,
    ReportFormat.TRX: documents.parse_trx,
}


def parse(format: ReportFormat, content: bytes) -> TestReport:
    """The report in `content`.

    Raises:
        BrokenReport: when it cannot be believed; `fault` says why.
    """
    return _PARSERS[format](content)


def parse_all(format: ReportFormat, contents: Iterable[bytes]) -> TestReport:
    """One report over several files, as surefire and gradle write one per class.

    Raises:
        BrokenReport: when there is no file at all, or any of them cannot be believed.
    """
    reports = [parse(format, content) for content in contents]
    if not reports:
        raise BrokenReport(ReportFault.MISSING, "No report was written.")
    if len(reports) == 1:
        return reports[0]
    return report_of((case for r in reports for case in r.cases.values()), reports[0].tool)
