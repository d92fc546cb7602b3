"""The proof object: what was run, what it showed, and whether that is enough (research §3.4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quarterdeck.features.coding import globs
from quarterdeck.features.coding.audit import Audit
from quarterdeck.features.coding.blank import may_bring
from quarterdeck.features.coding.commands import Commands
from quarterdeck.features.coding.protected import HARMLESS, Hit, Kind, Role, role
from quarterdeck.features.coding.reports import Outcome, TestReport
from quarterdeck.features.coding.scan import Scan, Severity
from quarterdeck.features.coding.testrun import Run, differing

VERSION = 1
LISTED_MAX = 200
_RAN = (Outcome.PASSED, Outcome.FAILED, Outcome.ERROR)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What this change has to show.

    `red_before_green`: some test must fail on the base and pass now; False for a change that must
    not alter behaviour. `targets` are the tests that have to turn green; when given, other tests
    that are red on the base may stay red. `declared` are globs of judging files that the approved
    plan names as to be changed: these are judged as the change leaves them.
    """

    red_before_green: bool = True
    targets: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs that a proof rests on; every one is in a checkout of its own.

    `base`: the base as it is. `restored`: the change with every judging file as in the base, new
    test files left out. `held_out`: the same once more, in another process with another hash seed.
    `candidate`: the change exactly as it would be promoted; the same as `restored` when it touches
    no judging file. `red`: the base's product with the change's tests, None without new tests.
    `tripwire` says whether a test planted to fail was reported so: None when none was planted.

    With `blank` the base is a blank page (see `blank.is_blank`): there is nothing to restore, so
    `restored` is `candidate`, and `red` has all judging files of the change without its product.
    """

    base: Run
    restored: Run
    held_out: Run
    candidate: Run
    red: Run | None = None
    tripwire: bool | None = None
    blank: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """What is proved: two commits, and the digest over the files of the tree that was judged."""

    base_sha: str
    tree_sha: str
    files_digest: str


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that failed (or, as a warning, that a person should weigh)."""

    rule: str
    message: str
    where: str | None = None

    def as_json(self) -> dict[str, str | None]:
        return {"rule": self.rule, "message": self.message, "where": self.where}


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdict with all it rests on; `digest` is what an approval signs.

    `document` is JSON. Any change to the tree, the commands or a result gives another digest.
    """

    passed: bool
    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]
    document: Mapping[str, Any] = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, over `canonical`."""
        return hashlib.sha256(self.canonical).hexdigest()

    @property
    def canonical(self) -> bytes:
        """The document as canonical JSON: sorted keys, no spaces, UTF-8."""
        return canonical(self.document)


def canonical(document: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys and without spaces; the same document gives the same bytes.

    Raises:
        ValueError: when it holds a number that JSON has not.
    """
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8", "backslashreplace")


def judge(
    runs: Runs,
    *,
    subject: Subject,
    commands: Commands,
    audit: Audit,
    scan: Scan,
    expectation: Expectation,
    environment: Mapping[str, Any],
) -> Proof:
    """The proof of one change. Passed means: no rule failed."""
    reasons = [
        *_reports(runs),
        *_census(runs, expectation),
        *_outcomes(runs, expectation),
        *_red_before_green(runs, expectation),
        *_held_out(runs),
        *_audited(audit, expectation, failing=True, blank=runs.blank),
        *_risks(scan),
    ]
    warnings = [
        *_audited(audit, expectation, failing=False, blank=runs.blank),
        *_lesser_risks(scan),
        *_vacuous(runs),
        *_own_judge(runs),
    ]
    document = {
        "version": VERSION,
        "passed": not reasons,
        "reasons": [reason.as_json() for reason in reasons],
        "warnings": [warning.as_json() for warning in warnings],
        "base_sha": subject.base_sha,
        "blank_base": runs.blank,
        "tree_sha": subject.tree_sha,
        "files_digest": subject.files_digest,
        "commands": commands.as_json(),
        "environment": dict(environment),
        "runs": _runs_json(runs),
        "census": _census_json(runs),
        "red_before_green": sorted(turned_green(runs))[:LISTED_MAX],
        "protected": [{"path": hit.path, "kind": hit.kind.value} for hit in audit.hits],
        "findings": [finding.as_json() for finding in audit.findings],
        "scan": {"risks": [risk.as_json() for risk in scan.risks], "trouble": scan.trouble},
        "diff": _diff_json(audit),
        "expectation": {
            "red_before_green": expectation.red_before_green,
            "targets": sorted(expectation.targets),
            "declared": sorted(expectation.declared),
        },
    }
    return Proof(not reasons, tuple(reasons), tuple(warnings), document)


def turned_green(runs: Runs) -> frozenset[str]:
    """The tests that are red without the change and pass with it.

    A base test counts when it failed on the base, or its file could not even be loaded there, and
    passes with the base's own judging files; a new test when it does not pass on the base's product.
    """
    passed = _ids(runs.restored, Outcome.PASSED)
    fixed = _ids(runs.base, Outcome.FAILED, Outcome.ERROR) & passed
    fixed |= passed & _of_files(runs.restored, _unloaded_files(runs.base))
    return fixed | (_new_passed(runs) - _vacuous_ids(runs) if _red_ran(runs) else frozenset())


def _unloaded_files(run: Run) -> frozenset[str]:
    """The files of tests that could not be loaded in a run."""
    cases = run.report.cases.values() if run.report else ()
    return frozenset(case.file for case in cases if case.unloaded and case.file)


def _of_files(run: Run, files: frozenset[str]) -> frozenset[str]:
    """The tests of these files that a run knows one by one."""
    cases = run.report.cases.items() if run.report else ()
    return frozenset(id for id, case in cases if case.file in files and not case.unloaded)


def _red_ran(runs: Runs) -> bool:
    """Whether the new tests really ran on the base: a run without a report is no evidence.

    On a blank page they may well break off before there is a report, for want of the product; that
    the same commands do report with it is shown by the candidate.
    """
    red = runs.red
    if red is None or red.report is not None:
        return red is not None
    last = red.commands[-1] if red.commands else None
    broke_off = last is not None and last.exit_code not in (0, None) and last.stopped_by is None
    return runs.blank and broke_off


def _new_passed(runs: Runs) -> frozenset[str]:
    known = runs.base.report.cases.keys() if runs.base.report else frozenset()
    return _ids(runs.candidate, Outcome.PASSED) - known


def _vacuous_ids(runs: Runs) -> frozenset[str]:
    """New tests that pass without the change too, or were skipped there: they show nothing."""
    if runs.red is None:
        return frozenset()
    return _new_passed(runs) & _ids(runs.red, Outcome.PASSED, Outcome.SKIPPED)


def _ids(run: Run, *outcomes: Outcome) -> frozenset[str]:
    return run.report.ids(*outcomes) if run.report else frozenset()


def _reports(runs: Runs) -> list[Reason]:
    reasons: list[Reason] = []
    named = [
        ("on the base", runs.base),
        ("of the change, judged by the base's files", runs.restored),
        ("of the held-out check", runs.held_out),
        ("of the change as it is", runs.candidate),
    ]
    if runs.blank:
        named = named[2:]
    for name, run in named:
        if run.report is None:
            rule = "base-not-proved" if run is runs.base else "report-missing"
            message = f"The run {name} proves nothing: {run.trouble or 'no test command ran'}"
            reasons.append(Reason(rule, message, "tests"))
        elif not any(case.outcome in _RAN for case in run.report.cases.values()):
            reasons.append(Reason("no-tests", f"The run {name} ran no test.", "tests"))
    return reasons


def _census(runs: Runs, expectation: Expectation) -> list[Reason]:
    """Tests that got lost or are skipped now, in both runs that judge the change."""
    base = runs.base.report
    reasons: list[Reason] = []
    if base is None:
        return reasons
    ran_before = frozenset(
        id for id in base.ids(*_RAN) if not _declared(base.cases[id].file, expectation)
    )
    judged = [("with the base's files", runs.restored)]
    if runs.candidate is not runs.restored:
        judged.append(("as the change leaves them", runs.candidate))
    for name, run in judged:
        if run.report is None:
            continue
        opened = {run.report.cases[id].file for id in _of_files(run, _unloaded_files(runs.base))}
        gone = ran_before - run.report.cases.keys()
        loaded = (id for id in gone if base.cases[id].unloaded and base.cases[id].file in opened)
        lost = gone - frozenset(loaded)
        skipped = ran_before & run.report.ids(Outcome.SKIPPED)
        if lost:
            message = f"{len(lost)} tests of the base are gone, {name}: {_listed(lost)}."
            reasons.append(Reason("tests-lost", message, "census"))
        if skipped:
            message = (
                f"{len(skipped)} tests of the base are skipped now, {name}: {_listed(skipped)}."
            )
            reasons.append(Reason("tests-skipped", message, "census"))
    return reasons


def _outcomes(runs: Runs, expectation: Expectation) -> list[Reason]:
    reasons: list[Reason] = []
    known_red = _ids(runs.base, Outcome.FAILED, Outcome.ERROR)
    targets = frozenset(expectation.targets)
    tolerated = known_red - targets if targets else frozenset()
    judged = [runs.restored] if runs.candidate is runs.restored else [runs.restored, runs.candidate]
    for run in judged:
        if run.report is None:
            continue
        bad = run.report.red - tolerated
        if bad:
            message = f"{len(bad)} tests fail: {_listed(bad)}."
            reasons.append(Reason("tests-failed", message, _file_of(run.report, bad)))
        elif run.test is not None and not run.test.ok and not run.report.red:
            message = f"No test is reported as failed, and yet the command {run.test.ended()}."
            reasons.append(Reason("exit-code", message, run.test.provenance))
    missing = targets - _ids(runs.restored, Outcome.PASSED) - _ids(runs.candidate, Outcome.PASSED)
    if missing:
        message = f"{len(missing)} target tests do not pass: {_listed(missing)}."
        reasons.append(Reason("target-not-green", message, "targets"))
    return list(dict.fromkeys(reasons))


def _red_before_green(runs: Runs, expectation: Expectation) -> list[Reason]:
    wanted = expectation.red_before_green or runs.blank
    if not wanted or turned_green(runs):
        return []
    message = "No test fails without the change and passes with it, so nothing shows that it works."
    return [Reason("no-red-before-green", message, "tests")]


def _held_out(runs: Runs) -> list[Reason]:
    reasons: list[Reason] = []
    if runs.tripwire is False:
        message = "A test that we planted to fail was not reported as failed: the report is forged."
        reasons.append(Reason("report-forged", message, "held-out check"))
    if runs.restored.report is not None and runs.held_out.report is not None:
        unlike = differing(runs.restored.report, runs.held_out.report)
        if unlike:
            message = f"{len(unlike)} tests ended otherwise in a second run: {_listed(unlike)}."
            reasons.append(Reason("unstable", message, "held-out check"))
    return reasons


def _audited(audit: Audit, expectation: Expectation, *, failing: bool, blank: bool) -> list[Reason]:
    """The audit's part: what fails the proof, or else what a person should weigh.

    What the approved plan declared, and what a blank page has to be given, is for a person to weigh.
    """
    found: list[Reason] = []
    for hit in audit.hits:
        first = blank and _is_first(hit)
        fails = hit.kind not in HARMLESS and not first and not _declared(hit.path, expectation)
        if fails is failing:
            rule = "verifier-changed" if hit.kind not in HARMLESS else hit.kind.value
            message = f"It touches what judges it ({hit.kind.value})."
            found.append(Reason(rule, message, hit.path))
    for finding in audit.findings:
        judging = role(finding.path) is not Role.PRODUCT
        lifted = judging and _declared(finding.path, expectation)
        fails = finding.blocking and not lifted
        if fails is failing:
            place = _place(finding.path, finding.line)
            found.append(Reason(finding.rule, finding.message, place))
    return found


def _is_first(hit: Hit) -> bool:
    """Whether it adds settings of tests where there were none, as somebody has to."""
    return hit.kind is Kind.CONFIG_ADDED and may_bring(hit.path)


def _declared(path: str | None, expectation: Expectation) -> bool:
    return path is not None and any(globs.matches(path, g) for g in expectation.declared)


def _risks(scan: Scan) -> list[Reason]:
    reasons = [
        Reason(f"security-{risk.rule}", risk.message, _place(risk.path, risk.line))
        for risk in scan.of(Severity.HIGH)
    ]
    if scan.trouble:
        reasons.append(Reason("scan-incomplete", scan.trouble, "security scan"))
    return reasons


def _lesser_risks(scan: Scan) -> list[Reason]:
    return [
        Reason(f"security-{risk.rule}", risk.message, _place(risk.path, risk.line))
        for risk in (*scan.of(Severity.MEDIUM), *scan.of(Severity.LOW))
    ]


def _vacuous(runs: Runs) -> list[Reason]:
    ids = _vacuous_ids(runs)
    message = f"{len(ids)} new tests pass without the change too: {_listed(ids)}."
    return [Reason("vacuous-tests", message, "tests")] if ids else []


def _own_judge(runs: Runs) -> list[Reason]:
    if not runs.blank:
        return []
    message = "The base has neither code nor tests: the change is judged by its own tests alone."
    return [Reason("own-tests-only", message, "tests")]


def _place(path: str, line: int | None) -> str:
    return path if line is None else f"{path}:{line}"


def _listed(ids: frozenset[str]) -> str:
    shown = ", ".join(sorted(ids)[:5])
    return shown if len(ids) <= 5 else f"{shown} and {len(ids) - 5} more"


def _file_of(report: TestReport, ids: frozenset[str]) -> str:
    case = report.cases[min(ids)]
    return case.file or case.id


def _runs_json(runs: Runs) -> dict[str, Any]:
    named: Sequence[tuple[str, Run | None]] = (
        ("base", runs.base),
        ("restored", runs.restored),
        ("held_out", runs.held_out),
        ("candidate", runs.candidate),
        ("red", runs.red),
    )
    return {
        **{name: _run_json(run) if run else None for name, run in named},
        "tripwire": runs.tripwire,
    }


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "standing": run.standing.value,
        "commands": [command.as_json() for command in run.commands],
        "report_digest": run.report_digest,
        "trouble": run.trouble,
        "counts": _counts_json(run.report),
    }


def _counts_json(report: TestReport | None) -> dict[str, int] | None:
    if report is None:
        return None
    counts = report.counts
    return {
        "passed": counts.passed,
        "failed": counts.failed,
        "error": counts.error,
        "skipped": counts.skipped,
        "total": counts.total,
    }


def _census_json(runs: Runs) -> dict[str, Any]:
    before = runs.base.report.cases.keys() if runs.base.report else frozenset[str]()
    after = runs.candidate.report.cases.keys() if runs.candidate.report else frozenset[str]()
    return {
        "before": len(before),
        "after": len(after),
        "lost": sorted(before - after)[:LISTED_MAX],
        "new": sorted(after - before)[:LISTED_MAX],
        "skipped_before": len(_ids(runs.base, Outcome.SKIPPED)),
        "skipped_after": len(_ids(runs.candidate, Outcome.SKIPPED)),
    }


def _diff_json(audit: Audit) -> dict[str, int]:
    stats = audit.stats
    return {
        "files_added": stats.files_added,
        "files_changed": stats.files_changed,
        "files_removed": stats.files_removed,
        "lines_added": stats.lines_added,
        "lines_removed": stats.lines_removed,
    }
