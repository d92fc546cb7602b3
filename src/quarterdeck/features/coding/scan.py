"""The security scan of a change: what ruff's security rules find new, and secrets in added lines."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.confine import Confinement, Limits, run_command
from quarterdeck.features.coding.audit import Change, added_lines
from quarterdeck.features.coding.protected import Role, role

if TYPE_CHECKING:
    from detect_secrets.plugins.base import BasePlugin

FILES_MAX = 2000
FINDINGS_MAX = 200
TIMEOUT_S = 60.0
LINE_MAX = 2000
_LINES_MAX = 50_000
_LOCK_FILES = (".lock", "package-lock.json", "pnpm-lock.yaml", "go.sum", "npm-shrinkwrap.json")


class Severity(StrEnum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Risk:
    """One finding. `message` never holds the text of a secret."""

    rule: str
    severity: Severity
    path: str
    line: int
    message: str

    def as_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "path": self.path,
            "line": self.line,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Scan:
    """What is new. `trouble` says why a part could not be scanned; that is never "clean"."""

    risks: tuple[Risk, ...]
    trouble: str | None = None

    def of(self, severity: Severity) -> tuple[Risk, ...]:
        return tuple(risk for risk in self.risks if risk.severity is severity)


# Ruff has no severities of its own; these follow Bandit's for the same rules.
_HIGH = frozenset({
    "S102", "S202", "S302", "S306", "S324", "S501", "S502", "S505", "S507", "S601", "S602", "S604",
    "S605", "S609", "S612", "S701", "S702",
})  # fmt: skip
_LOW = frozenset({
    "S101", "S105", "S106", "S107", "S110", "S112", "S311", "S401", "S402", "S403", "S404", "S405",
    "S406", "S407", "S408", "S409", "S410", "S411", "S412", "S413", "S415", "S603", "S606", "S607",
})  # fmt: skip
_IGNORED = "S101,S105,S106,S107,S603,S607"  # asserts; secrets are ours to find; lists of arguments


def secrets_in(changes: Iterable[Change]) -> list[Risk]:
    """Secrets in added lines: kind and place only, never the secret."""
    # Loaded with the first change: the detectors take as long to import as all the rest of a start.
    from quarterdeck.features.coding.secret_detectors import STRONG, WEAK  # noqa: PLC0415 - see above

    found: list[Risk] = []
    for change in changes:
        if change.path.endswith(_LOCK_FILES):
            continue
        judged = role(change.path) is Role.TEST
        for count, (number, line) in enumerate(added_lines(change)):
            if count >= _LINES_MAX or len(found) >= FINDINGS_MAX:
                break
            kind = _secret_kind(line[:LINE_MAX], STRONG)
            severity = Severity.HIGH
            if kind is None:
                kind = _secret_kind(line[:LINE_MAX], WEAK)
                severity = Severity.LOW if judged else Severity.MEDIUM
            if kind is not None:
                message = f"the line looks like it holds a secret ({kind})"
                found.append(Risk("secret", severity, change.path, number, message))
    return found


def _secret_kind(line: str, plugins: Sequence[BasePlugin]) -> str | None:
    for plugin in plugins:
        # The plugins are asked directly: the library's scan would first consult its filters, some
        # of which ask the services behind the secrets.
        if any(True for _ in plugin.analyze_line(filename="added.py", line=line, line_number=1)):
            return str(plugin.secret_type)
    return None


async def scan(changes: Sequence[Change], *, scratch: Path, allow_weak: bool = False) -> Scan:
    """The new risks of a change; `scratch` is an existing private directory for copies.

    Ruff runs confined on copies of the changed Python files, without any configuration or
    suppression of theirs.
    """
    secrets = await asyncio.to_thread(secrets_in, changes)
    python = [c for c in changes if c.path.endswith(".py") and c.after is not None]
    if len(python) > FILES_MAX:
        trouble = (
            f"{len(python)} changed Python files are more than the {FILES_MAX} that are scanned."
        )
        return Scan(tuple(secrets), trouble)
    if not python:
        return Scan(tuple(secrets))
    home = Path(tempfile.mkdtemp(prefix="scan-", dir=scratch))
    try:
        await asyncio.to_thread(_copy, python, home)
        before, after, trouble = await _ruff(home, allow_weak=allow_weak)
    finally:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
    risks = secrets + _new(python, before, after)
    return Scan(tuple(risks[:FINDINGS_MAX]), trouble)


def _copy(changes: Sequence[Change], home: Path) -> None:
    """Copies under numbers, so that no name of theirs becomes a path of ours."""
    for side in ("before", "after"):
        (home / side).mkdir()
    for number, change in enumerate(changes):
        (home / "before" / f"f{number}.py").write_bytes(change.before or b"")
        (home / "after" / f"f{number}.py").write_bytes(change.after or b"")


Raw = Mapping[str, Any]


async def _ruff(home: Path, *, allow_weak: bool) -> tuple[list[Raw], list[Raw], str | None]:
    found: list[list[Raw]] = []
    for side in ("before", "after"):
        result = await run_command(
            (_ruff_path(), "check", "--isolated", "--no-cache", "--ignore-noqa", "--exit-zero",
             "--select", "S", "--ignore", _IGNORED, "--output-format", "json", "."),
            cwd=home / side,
            confinement=Confinement(
                writable=(home,), limits=Limits(output_bytes=32 * 1024 * 1024), allow_weak=allow_weak
            ),
            timeout_s=TIMEOUT_S,
        )  # fmt: skip
        try:
            document = json.loads(result.stdout)
        except (ValueError, RecursionError):
            shown = result.stderr[-300:].decode("utf-8", "replace").strip()
            return [], [], f"The security rules could not be run: {shown or 'no result'}"
        found.append([item for item in document if isinstance(item, dict)])
    return found[0], found[1], None


def _new(changes: Sequence[Change], before: Sequence[Raw], after: Sequence[Raw]) -> list[Risk]:
    """What `after` has and `before` had not: compared by rule and text of the line, not its number."""
    known = Counter(_key(item, changes, old=True) for item in before)
    risks: list[Risk] = []
    for item in after:
        key = _key(item, changes, old=False)
        if known[key] > 0:
            known[key] -= 1
            continue
        change, code, line = _facts(item, changes)
        if code.startswith("S"):
            risks.append(
                Risk(
                    code, _severity(code, change.path), change.path, line, str(item.get("message"))
                )
            )
    return sorted(
        risks, key=lambda risk: (list(Severity).index(risk.severity), risk.path, risk.line)
    )


def _key(item: Raw, changes: Sequence[Change], *, old: bool) -> tuple[str, str, str]:
    change, code, line = _facts(item, changes)
    lines = (
        ((change.before if old else change.after) or b"").decode("utf-8", "replace").splitlines()
    )
    return change.path, code, lines[line - 1].strip() if 0 < line <= len(lines) else ""


def _facts(item: Raw, changes: Sequence[Change]) -> tuple[Change, str, int]:
    name = str(item.get("filename")).rsplit("/", 1)[-1]
    location = item.get("location")
    row = location.get("row") if isinstance(location, dict) else None
    number = int(name.removeprefix("f").removesuffix(".py"))
    return changes[number], str(item.get("code")), row if isinstance(row, int) else 1


def _severity(code: str, path: str) -> Severity:
    if role(path) is Role.TEST or code in _LOW:
        return Severity.LOW
    return Severity.HIGH if code in _HIGH else Severity.MEDIUM


def _ruff_path() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "ruff"
    if beside.exists():
        return str(beside)
    return shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
