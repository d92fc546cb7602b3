"""Commands: how a repository is set up, built and tested, and how we know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ReportFormat(StrEnum):
    """How a test command tells what happened, test by test."""

    JUNIT = "junit"
    """JUnit XML, at `{report}` in the command line or below a directory of reports."""
    GO_JSON = "go-json"
    TAP = "tap"
    CARGO = "cargo"


@dataclass(frozen=True, slots=True)
class Command:
    """One command line, run in the sandbox's root.

    `argv` may hold the placeholder `{report}`, replaced by the path of the report file to write.
    `provenance` says where it comes from, as `file:line` or a rule's name. `report_glob` names the
    report files when the tool chooses their place itself.
    """

    argv: tuple[str, ...]
    provenance: str
    report: ReportFormat | None = None
    report_glob: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Commands:
    """What was detected or stated for one repository; None where nothing is known."""

    ecosystem: str
    setup: Command | None = None
    build: Command | None = None
    test: Command | None = None
    protected: tuple[str, ...] = ()
