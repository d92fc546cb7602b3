"""Commands: how a repository is set up, built and tested, and how we know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter


class ReportFormat(StrEnum):
    """How a test command tells what happened, test by test."""

    JUNIT = "junit"
    """JUnit XML, at `{report}` in the command line or below a directory of reports."""
    GO_JSON = "go-json"
    """`go test -json`, on the standard output."""
    TAP = "tap"
    """Test Anything Protocol, on the standard output or at `{report}`."""
    CARGO = "cargo"
    """The text of `cargo test`, on the standard output."""
    JEST = "jest"
    """The JSON that jest writes with `--json --outputFile={report}`."""
    TRX = "trx"
    """Visual Studio test results, as `dotnet test --logger trx` writes them."""


class Source(StrEnum):
    """Where commands come from, the most trusted first (coding research §3.2)."""

    OVERRIDE = "override"
    CI = "ci"
    WRAPPER = "wrapper"
    MARKER = "marker"
    MENTOR = "mentor"


@dataclass(frozen=True, slots=True)
class Command:
    """One command line, run in the sandbox's root or in `directory` below it.

    `argv` and the values of `env` may hold the placeholders `{report}`, replaced by the path of the
    report file to write, and `{tree}`, replaced by the sandbox's root. `provenance` says where it
    comes from, as `file:line` or a rule's name. `report_glob` names the report files, from
    `directory` on, when the tool chooses their place itself. `readable` lists places outside of the
    tree which the command needs to read (an environment). `network` says that it downloads things,
    which confinement may not allow.
    """

    argv: tuple[str, ...]
    provenance: str
    report: ReportFormat | None = None
    report_glob: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 600.0
    directory: str = "."
    readable: tuple[str, ...] = ()
    network: bool = False


@dataclass(frozen=True, slots=True)
class Commands:
    """What was detected or stated for one repository; None where nothing is known.

    `protected` adds globs to the verifier files which a change may not touch. `unproved` says why
    these commands cannot be run on this machine, None when nothing speaks against it. `notes` are
    sentences for the person who looks at the choice.
    """

    ecosystem: str
    setup: Command | None = None
    build: Command | None = None
    test: Command | None = None
    protected: tuple[str, ...] = ()
    source: Source | None = None
    unproved: str | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The JSON object that `commands_from_json` reads back."""
        return _COMMANDS.dump_python(self, mode="json")


_COMMANDS: TypeAdapter[Commands] = TypeAdapter(Commands)


def commands_from_json(value: Mapping[str, Any]) -> Commands:
    """The commands that `Commands.as_json` wrote, as an earlier step's outputs hold them.

    Raises:
        pydantic.ValidationError: when `value` was not written by `as_json`.
    """
    return _COMMANDS.validate_python(value)
