"""Which runs make a proof, and which rule stops one that does not."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.coding.audit import Change, audit
from quarterdeck.features.coding.commands import Command, Commands
from quarterdeck.features.coding.proof import Expectation, Proof, Runs, Subject, canonical, judge
from quarterdeck.features.coding.reports import Case, Outcome
from quarterdeck.features.coding.reports.model import report_of
from quarterdeck.features.coding.scan import Risk, Scan, Severity
from quarterdeck.features.coding.testrun import CommandRun, Run

pytestmark = pytest.mark.req("ORC-9")
COMMANDS = Commands("python", test=Command(("pytest",), "pyproject.toml:1"))
SUBJECT = Subject("a" * 40, "b" * 40, "c" * 64)
P, F, E, S = Outcome.PASSED, Outcome.FAILED, Outcome.ERROR, Outcome.SKIPPED


def run(exit_code: int | None = None, /, **outcomes: Outcome) -> Run:
    red = any(outcome in (F, E) for outcome in outcomes.values())
    code = int(red) if exit_code is None else exit_code
    command = CommandRun("test", ("pytest",), "x:1", code, None, None, 1.0, "process", "")
    cases = (Case(id, outcome, file=f"tests/test_{id}.py") for id, outcome in outcomes.items())
    return Run((command,), report_of(cases, "junit"), "d" * 64)


def proof(
    base: Run, after: Run, *, candidate: Run | None = None, red: Run | None = None, **facts
) -> Proof:
    changes = facts.pop("changes", [])
    expectation = facts.pop("expectation", Expectation())
    scan = facts.pop("scan", Scan(()))
    subject = facts.pop("subject", SUBJECT)
    runs = Runs(base, after, facts.pop("held_out", after), candidate or after, red, **facts)
    return judge(
        runs,
        subject=subject,
        commands=COMMANDS,
        audit=audit(changes),
        scan=scan,
        expectation=expectation,
        environment={"system": "Linux"},
    )


def rules(judged: Proof) -> set[str]:
    return {reason.rule for reason in judged.reasons}


def test_a_red_test_that_turns_green_is_enough():
    judged = proof(run(a=F, b=P), run(a=P, b=P))

    assert judged.passed
    assert judged.document["red_before_green"] == ["a"]


@pytest.mark.parametrize(
    ("base", "after", "rule"),
    [
        (run(a=F), run(a=F), "tests-failed"),
        (run(a=F, b=P), run(a=P), "tests-lost"),
        (run(a=F, b=P), run(a=P, b=S), "tests-skipped"),
        (run(a=P), run(a=P), "no-red-before-green"),
        (run(a=F), run(3, a=P), "exit-code"),
        (run(a=F), Run((), trouble="it hung"), "report-missing"),
        (Run((), trouble="no such tool"), run(a=P), "base-not-proved"),
        (run(a=S), run(a=S), "no-tests"),
    ],
)
def test_each_rule_fails_by_name(base, after, rule):
    judged = proof(base, after)

    assert not judged.passed
    assert rule in rules(judged)
    assert all(reason.where for reason in judged.reasons)


def test_a_held_out_run_that_differs_is_unstable():
    judged = proof(run(a=F), run(a=P), held_out=run(a=F))

    assert rules(judged) == {"unstable"}


def test_a_planted_test_that_passed_means_forgery():
    assert rules(proof(run(a=F), run(a=P), tripwire=False)) == {"report-forged"}


def test_tests_red_on_the_base_may_stay_red_only_beside_targets():
    base, after = run(a=F, b=F), run(a=P, b=F)

    assert rules(proof(base, after)) == {"tests-failed"}
    assert proof(base, after, expectation=Expectation(targets=("a",))).passed
    assert rules(proof(base, after, expectation=Expectation(targets=("b",)))) == {
        "tests-failed",
        "target-not-green",
    }


def test_new_tests_show_a_feature_only_when_they_fail_without_it():
    base = run(a=P)
    shown = proof(base, base, candidate=run(a=P, n=P), red=run(a=P, n=F))
    collected = proof(base, base, candidate=run(a=P, n=P), red=run(a=P, file=E))
    vacuous = proof(base, base, candidate=run(a=P, n=P), red=run(a=P, n=P))
    unknown = proof(base, base, candidate=run(a=P, n=P), red=Run((), trouble="it hung"))

    assert shown.passed
    assert collected.passed
    assert rules(vacuous) == {"no-red-before-green"}
    assert {warning.rule for warning in vacuous.warnings} == {"vacuous-tests"}
    assert rules(unknown) == {"no-red-before-green"}


def test_a_change_that_must_not_alter_anything_needs_no_red_test():
    assert proof(run(a=P), run(a=P), expectation=Expectation(red_before_green=False)).passed


CONFIG = [Change("conftest.py", b"x = 1\n", b"x = 2\n")]


def test_a_touched_judge_fails_unless_the_plan_declared_it():
    base, after = run(a=F), run(a=P)

    assert rules(proof(base, after, changes=CONFIG)) == {"verifier-changed"}
    declared = proof(
        base, after, changes=CONFIG, expectation=Expectation(declared=("conftest.py",))
    )
    assert declared.passed
    assert {warning.rule for warning in declared.warnings} == {"verifier-changed"}


def test_declaring_never_lifts_a_finding_in_product_code():
    change = [Change("pkg/a.py", b"", b"import pytest\n")]
    judged = proof(run(a=F), run(a=P), changes=change, expectation=Expectation(declared=("**",)))

    assert rules(judged) == {"test-framework-in-product"}


def test_high_risks_fail_and_lesser_ones_are_shown():
    base, after = run(a=F), run(a=P)
    high = Scan((Risk("S602", Severity.HIGH, "a.py", 3, "shell"),))
    low = Scan((Risk("S311", Severity.LOW, "a.py", 3, "random"),))

    assert rules(proof(base, after, scan=high)) == {"security-S602"}
    assert proof(base, after, scan=low).passed
    assert rules(proof(base, after, scan=Scan((), "ruff is missing"))) == {"scan-incomplete"}


def test_the_digest_is_over_everything_and_stable():
    first = proof(run(a=F), run(a=P))
    again = proof(run(a=F), run(a=P))
    other = proof(run(a=F), run(a=P), subject=Subject("a" * 40, "e" * 40, "c" * 64))

    assert first.digest == again.digest
    assert first.digest != other.digest
    assert json.loads(first.canonical) == first.document


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), values))
def test_canonical_json_does_not_depend_on_order(document):
    turned = dict(reversed(document.items()))

    assert canonical(document) == canonical(turned)


def test_a_number_that_json_has_not_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        canonical({"x": float("nan")})


ids = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(Outcome), min_size=1)


@given(ids, ids)
def test_no_passing_proof_loses_or_breaks_a_test(before, after):
    judged = proof(run(**before), run(**after))
    ran = {id for id, outcome in before.items() if outcome is not S}

    if judged.passed:
        assert all(after.get(id) is P for id in ran)
        assert any(before[id] in (F, E) for id in ran)


def test_a_file_that_only_loads_with_the_change_is_red_before_and_green_after():
    lost = Case("tests.test_x", E, file="tests/test_x.py", unloaded=True)
    base = replace(run(a=P), report=report_of([Case("a", P), lost], "junit"))
    cases = [Case("a", P), Case("tests.test_x::test_a", P, file="tests/test_x.py")]
    after = replace(run(a=P), report=report_of(cases, "junit"))
    assert rules(proof(base, after)) == set()
    assert rules(proof(base, run(a=P))) == {"tests-lost", "no-red-before-green"}
