"""The diff audit: what a change adds that makes its own judgement worth less."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quarterdeck.features.coding import audit_python
from quarterdeck.features.coding.protected import HARMLESS, Hit, Role, hit, role

FINDINGS_MAX = 500
_PROSE = (".md", ".rst", ".txt", ".adoc")
LINE_MAX = 2000


@dataclass(frozen=True, slots=True)
class Change:
    """One file that differs; `before` or `after` is None where there is no file."""

    path: str
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something for the person who approves; a `blocking` one fails the proof by itself."""

    rule: str
    path: str
    line: int | None
    message: str
    blocking: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "path": self.path,
            "line": self.line,
            "message": self.message,
            "blocking": self.blocking,
        }


@dataclass(frozen=True, slots=True)
class DiffStats:
    """Lines are counted as a multiset: a line that only moved is neither added nor removed."""

    files_added: int
    files_changed: int
    files_removed: int
    lines_added: int
    lines_removed: int


@dataclass(frozen=True, slots=True)
class Audit:
    """`hits` are the judging files that were touched; `cut` says that more was found than kept."""

    findings: tuple[Finding, ...]
    hits: tuple[Hit, ...]
    stats: DiffStats
    cut: bool = False

    @property
    def new_tests(self) -> tuple[str, ...]:
        """The files that bring tests of their own: new ones, and old ones that gained some."""
        return tuple(h.path for h in self.hits if h.kind in HARMLESS)


_PYTHON_RULES: Mapping[str, tuple[bool, str]] = {
    "test-framework-in-product": (True, "product code reaches for the test framework ({})"),
    "exit-in-product": (True, "product code ends the process ({})"),
    "interpreter-hook": (True, "product code hooks into the interpreter ({})"),
    "always-equal": (True, "an object may be equal to anything: {}"),
    "test-detection": (True, "product code asks whether it is being tested ({})"),
    "looks-around": (False, "product code looks at who runs it ({})"),
    "unreadable": (False, "{}"),
}
_SKIPS = re.compile(
    r"pytest\.(skip|xfail|importorskip)\b|mark\.(skip|skipif|xfail)\b|unittest\.(skip|expectedFailure)"
    r"|@skip(If|Unless)?\b|\bself\.skipTest\(|\b(it|test|describe|context|suite)\.(only|skip|todo|fails)\b"
    r"|\b(xit|xdescribe|xtest|fit|fdescribe)\s*\(|\bt\.Skip(f|Now)?\(|#\[ignore\b|@Disabled\b|@Ignore\b"
    r"|\bmarkTestSkipped\(|@tag :?skip\b|\[(Fact|Theory)\(Skip\b|collect_ignore|__test__\s*=\s*False"
)
_SILENCERS = re.compile(
    r"#\s*(noqa|nosec|type:\s*ignore|pyright:\s*ignore|pyrefly:\s*ignore|mypy:|pylint:\s*disable"
    r"|ruff:\s*noqa|fmt:\s*off)|pragma:\s*no\s*(cover|branch)|eslint-disable|@ts-(ignore|nocheck"
    r"|expect-error)|biome-ignore|(istanbul|c8|v8) ignore|//\s*nolint|\bNOLINT|#!?\[allow\("
    r"|@SuppressWarnings|rubocop:disable|phpcs:ignore|@phpstan-ignore|@psalm-suppress"
    r"|#pragma warning disable|coverage:\s*ignore|codeCoverageIgnore|sourcery skip|deno-lint-ignore"
)
_JS_FRAMEWORK = (
    r"(require\(|from\s+|import\s+|import\()\s*['\"](jest|vitest|mocha|chai|sinon|ava|tap|tape"
    r"|node:test|bun:test|@jest/[\w-]+|expect)['\"]"
)
# (file names, pattern of a line, rule, blocking, message)
_LINES: tuple[tuple[re.Pattern[str], re.Pattern[str], str, bool, str], ...] = tuple(
    (re.compile(files), re.compile(pattern), rule, blocking, message)
    for files, pattern, rule, blocking, message in (
        (
            r".*\.([cm]?[jt]sx?)",
            _JS_FRAMEWORK,
            "test-framework-in-product",
            True,
            "product code reaches for the test framework",
        ),
        (
            r".*\.([cm]?[jt]sx?)",
            r"JEST_WORKER_ID|VITEST|NODE_TEST_CONTEXT|NODE_ENV\W{1,6}test\b|execArgv",
            "test-detection",
            True,
            "product code asks whether it is being tested",
        ),
        (
            r".*\.([cm]?[jt]sx?)",
            r"^(globalThis\.)?process\.(exit|reallyExit|abort|kill)\(",
            "exit-in-product",
            True,
            "product code ends the process while it is loaded",
        ),
        (
            r".*(?<!_test)\.go",
            r"^\s*(import\s+)?\"testing\"|flag\.Lookup\(\"test\.",
            "test-framework-in-product",
            True,
            "product code imports the testing package",
        ),
        (r".*(?<!_test)\.go", r"\bos\.Exit\(", "exit-in-product", False, "product code exits"),
        (
            r".*\.(java|kt|scala)",
            r"^import\s+(static\s+)?(org\.junit|org\.testng|org\.mockito)",
            "test-framework-in-product",
            True,
            "product code imports the test framework",
        ),
        (
            r".*\.(java|kt|scala)",
            r"System\.exit\(|\.halt\(",
            "exit-in-product",
            False,
            "product code exits",
        ),
        (
            r".*\.rs",
            r"process::(exit|abort)\(",
            "exit-in-product",
            False,
            "product code exits",
        ),
        (
            r".*\.rs",
            r"#\[(cfg\(test\)|test)\]|cfg!\(test\)",
            "tests-in-product",
            False,
            "tests inside of a product file changed; they are not restored from the base",
        ),
        (r".*\.(rb|php|ex)", r"\bexit!|\bpcntl_|\bposix_kill", "exit-in-product", True, "it exits"),
    )
)


def audit(changes: Iterable[Change], *, protected: Sequence[str] = ()) -> Audit:
    """Everything that the change adds and a judge should know.

    `protected` are globs which the repository adds to the files that judge. Only what is new
    counts: what the base's file did already is no finding.
    """
    changes = sorted(changes, key=lambda change: change.path)
    hits = [found for c in changes if (found := hit(c.path, c.before, c.after, protected))]
    findings: list[Finding] = []
    for change in changes:
        findings += _findings(change, protected)
    cut = len(findings) > FINDINGS_MAX
    findings.sort(key=lambda finding: not finding.blocking)
    return Audit(tuple(findings[:FINDINGS_MAX]), tuple(hits), _stats(changes), cut)


def _findings(change: Change, protected: Sequence[str]) -> Iterator[Finding]:
    if change.after is None:
        return
    part = role(change.path, protected)
    yield from _suppressions(change)
    if part is not Role.PRODUCT:
        return
    yield from _by_line(change)
    if change.path.endswith((".py", ".pyi")):
        yield from _python(change)


def _suppressions(change: Change) -> Iterator[Finding]:
    if change.path.endswith(_PROSE):
        return
    for number, line in added_lines(change):
        if match := _SKIPS.search(line):
            message = f"it adds a way around a test: {match[0].strip()}"
            yield Finding("skip-added", change.path, number, message, True)
        if match := _SILENCERS.search(line):
            message = f"it silences a checker: {match[0].strip()}"
            yield Finding("suppression-added", change.path, number, message, False)


def _by_line(change: Change) -> Iterator[Finding]:
    rules = [rule for rule in _LINES if rule[0].fullmatch(change.path)]
    for number, line in added_lines(change) if rules else ():
        for _, pattern, rule, blocking, message in rules:
            if pattern.search(line):
                yield Finding(rule, change.path, number, message, blocking)


def _python(change: Change) -> Iterator[Finding]:
    hidden = audit_python.shadows(change.path)
    if hidden is not None and change.before is None:
        message = f"a new file takes the place of the module {hidden!r}"
        yield Finding("shadows-module", change.path, None, message, True)
    known = Counter((s.rule, s.detail) for s in audit_python.spots(change.before or b""))
    for spot in audit_python.spots(change.after or b""):
        if known[spot.rule, spot.detail] > 0:
            known[spot.rule, spot.detail] -= 1
            continue
        blocking, message = _PYTHON_RULES[spot.rule]
        yield Finding(spot.rule, change.path, spot.line, message.format(spot.detail), blocking)


def added_lines(change: Change) -> Iterator[tuple[int, str]]:
    """The lines of `after`, with their numbers, that `before` does not hold as often."""
    if b"\0" in (change.after or b"")[:8192]:
        return
    before = Counter((change.before or b"").decode("utf-8", "replace").splitlines())
    after = (change.after or b"").decode("utf-8", "replace")
    for number, line in enumerate(after.splitlines(), start=1):
        if before[line] > 0:
            before[line] -= 1
        else:
            yield number, line[:LINE_MAX]


def _stats(changes: Sequence[Change]) -> DiffStats:
    added = removed = 0
    for change in changes:
        before = Counter((change.before or b"").splitlines())
        after = Counter((change.after or b"").splitlines())
        added += (after - before).total()
        removed += (before - after).total()
    return DiffStats(
        files_added=sum(c.before is None for c in changes),
        files_changed=sum(c.before is not None and c.after is not None for c in changes),
        files_removed=sum(c.after is None for c in changes),
        lines_added=added,
        lines_removed=removed,
    )
