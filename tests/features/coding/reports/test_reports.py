"""Reports of every format are read, and broken ones are named."""

import json
from contextlib import suppress
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.coding.commands import ReportFormat
from quarterdeck.features.coding.reports import (
    BrokenReport,
    Case,
    Outcome,
    ReportFault,
    as_ctrf,
    node_id,
    parse,
    parse_all,
)
from quarterdeck.features.coding.reports.model import report_of

pytestmark = pytest.mark.req("ORC-9")

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" tests="5">
<testcase classname="tests.test_a" name="test_ok" file="tests/test_a.py" line="3" time="0.25"/>
<testcase classname="tests.test_a.TestB" name="test_no[1-2]" file="tests/test_a.py" time="1,024.5">
  <failure message="assert 1 == 2">tests/test_a.py:9: AssertionError</failure></testcase>
<testcase classname="tests.test_a" name="test_fixture" time="x"><error message="boom"/></testcase>
<testcase classname="tests.test_a" name="test_later" time="0"><skipped type="pytest.xfail"/></testcase>
<testcase classname="tests.test_a" name="test_ok" time="0.1"/>
</testsuite></testsuites>"""


def test_pytests_junit_is_read():
    report = parse(ReportFormat.JUNIT, PYTEST)

    assert {id: case.outcome.value for id, case in report.cases.items()} == {
        "tests.test_a::test_ok": "passed",
        "tests.test_a.TestB::test_no[1-2]": "failed",
        "tests.test_a::test_fixture": "error",
        "tests.test_a::test_later": "skipped",
        "tests.test_a::test_ok#2": "passed",
    }
    failed = report.cases["tests.test_a.TestB::test_no[1-2]"]
    assert failed.duration_s == 1024.5
    assert failed.message == "assert 1 == 2\ntests/test_a.py:9: AssertionError"
    assert node_id(failed) == "tests/test_a.py::TestB::test_no[1-2]"
    assert report.cases["tests.test_a::test_fixture"].duration_s is None
    assert report.counts.total == 5


def test_nested_suites_name_cases_without_a_class():
    content = b"""<testsuites><testsuite name="outer"><testsuite name="inner">
    <testcase name="works"/></testsuite></testsuite></testsuites>"""

    assert list(parse(ReportFormat.JUNIT, content).cases) == ["outer.inner::works"]


def test_ctests_status_attribute_is_understood():
    content = b"""<testsuite name="ctest"><testcase name="a" classname="a" status="run"/>
    <testcase name="b" classname="b" status="fail"/>
    <testcase name="c" classname="c" status="notrun"/></testsuite>"""
    outcomes = [case.outcome.value for case in parse(ReportFormat.JUNIT, content).cases.values()]

    assert outcomes == ["passed", "failed", "skipped"]


BOMB = b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><testsuite name="&c;"/>'


@pytest.mark.parametrize(
    ("format", "content", "fault"),
    [
        (ReportFormat.JUNIT, b"", ReportFault.EMPTY),
        (ReportFormat.JUNIT, b" \n", ReportFault.EMPTY),
        (ReportFormat.JUNIT, b"<!DOCTYPE html><html></html>", ReportFault.HTML),
        (ReportFormat.JUNIT, PYTEST[:-40], ReportFault.TRUNCATED),
        (ReportFormat.JUNIT, b"<testsuite><testcase", ReportFault.TRUNCATED),
        (ReportFormat.JUNIT, b"not xml", ReportFault.MALFORMED),
        (ReportFormat.JUNIT, b"<report/>", ReportFault.MALFORMED),
        (ReportFormat.JUNIT, b"<testsuite>" * 100, ReportFault.MALFORMED),
        (ReportFormat.JUNIT, BOMB, ReportFault.FORBIDDEN),
        (ReportFormat.GO_JSON, b"ok  \tpkg\t0.1s\n", ReportFault.MALFORMED),
        (ReportFormat.TAP, b"1..3\nok 1 - a\n", ReportFault.TRUNCATED),
        (ReportFormat.TAP, b"ok 1 - a\n", ReportFault.TRUNCATED),
        (ReportFormat.TAP, b"1..2\nok 1\nBail out! no disk\n", ReportFault.TRUNCATED),
        (ReportFormat.TAP, b"hello\n", ReportFault.MALFORMED),
        (ReportFormat.CARGO, b"error[E0425]: cannot find value\n", ReportFault.MALFORMED),
        (ReportFormat.CARGO, b"\nrunning 2 tests\ntest a ... ok\n", ReportFault.TRUNCATED),
        (ReportFormat.JEST, b"{", ReportFault.MALFORMED),
        (ReportFormat.JEST, b"[]", ReportFault.MALFORMED),
        (ReportFormat.TRX, b"<TestRun><Results>", ReportFault.TRUNCATED),
        (ReportFormat.TRX, b"<testsuite/>", ReportFault.MALFORMED),
    ],
)
def test_what_is_broken_is_refused_by_name(format, content, fault):
    with pytest.raises(BrokenReport) as caught:
        parse(format, content)
    assert caught.value.fault is fault


def test_no_report_file_is_a_missing_report():
    with pytest.raises(BrokenReport) as caught:
        parse_all(ReportFormat.JUNIT, [])
    assert caught.value.fault is ReportFault.MISSING


def test_reports_of_several_files_are_one():
    one = b'<testsuite name="a"><testcase name="x"/></testsuite>'
    two = b'<testsuite name="a"><testcase name="x"/></testsuite>'

    assert list(parse_all(ReportFormat.JUNIT, [one, two]).cases) == ["a::x", "a::x#2"]


def test_go_events_are_read():
    events = [
        {"Action": "run", "Package": "m/a", "Test": "TestA"},
        {"Action": "output", "Package": "m/a", "Test": "TestA", "Output": "a_test.go:7: no\n"},
        {"Action": "fail", "Package": "m/a", "Test": "TestA", "Elapsed": 0.5},
        {"Action": "run", "Package": "m/a", "Test": "TestB/sub"},
        {"Action": "pass", "Package": "m/a", "Test": "TestB/sub", "Elapsed": 0},
        {"Action": "skip", "Package": "m/a", "Test": "TestC", "Elapsed": 0},
        {"Action": "fail", "Package": "m/a"},
        {"Action": "run", "Package": "m/b", "Test": "TestD"},
        {"Action": "fail", "Package": "m/b"},
    ]
    content = "\n".join([json.dumps(e) for e in events] + ["{broken"]).encode()
    report = parse(ReportFormat.GO_JSON, content)

    assert {id: case.outcome.value for id, case in report.cases.items()} == {
        "m/a::TestA": "failed",
        "m/a::TestB/sub": "passed",
        "m/a::TestC": "skipped",
        "m/b::(package)": "error",
        "m/b::TestD": "error",
    }
    assert report.cases["m/a::TestA"].message == "a_test.go:7: no\n"


def test_tap_points_are_read():
    content = b"""TAP version 14
ok 1 - adds
not ok 2 - divides
  ---
  message: by zero
  ...
ok 3 - waits # SKIP no network
not ok 4 - later # TODO
    ok 1 - inner
1..4
"""
    cases = parse(ReportFormat.TAP, content).cases

    assert {id: case.outcome.value for id, case in cases.items()} == {
        "adds": "passed",
        "divides": "failed",
        "waits": "skipped",
        "later": "skipped",
    }


def test_cargos_text_is_read():
    content = b"""     Running unittests src/lib.rs (target/debug/deps/x-1)

running 3 tests
test tests::a ... ok
test tests::b ... FAILED
test tests::c ... ignored

failures:

---- tests::b stdout ----
assertion failed: left == right

failures:
    tests::b

test result: FAILED. 1 passed; 1 failed; 1 ignored
   Doc-tests x

running 1 test
test src/lib.rs - add (line 3) ... ok

test result: ok. 1 passed
"""
    cases = parse(ReportFormat.CARGO, content).cases

    assert [c.outcome.value for c in cases.values()] == ["passed", "failed", "skipped", "passed"]
    assert cases["src/lib.rs::tests::b"].message == "assertion failed: left == right"
    assert "doc x::src/lib.rs - add (line 3)" in cases


def test_jests_document_is_read():
    document = {
        "testResults": [
            {
                "name": "/tree/a.test.js",
                "status": "failed",
                "assertionResults": [
                    {"fullName": "adds", "status": "passed", "duration": 12},
                    {"fullName": "no", "status": "failed", "failureMessages": ["expected 1"]},
                    {"fullName": "later", "status": "todo"},
                ],
            },
            {"name": "/tree/b.test.js", "status": "failed", "message": "SyntaxError"},
        ]
    }
    report = parse(ReportFormat.JEST, json.dumps(document).encode())

    assert report.counts == type(report.counts)(passed=1, failed=1, error=1, skipped=1)
    assert report.cases["a.test.js::adds"].duration_s == 0.012


def test_trx_is_read():
    content = b"""<?xml version="1.0"?><TestRun xmlns="http://microsoft.com/x"><Results>
    <UnitTestResult testName="A.B" outcome="Passed" duration="00:00:01.5000000"/>
    <UnitTestResult testName="A.C" outcome="Failed"/></Results></TestRun>"""
    cases = parse(ReportFormat.TRX, content).cases

    assert cases["A.B"].duration_s == 1.5
    assert cases["A.C"].outcome is Outcome.FAILED


def test_the_export_counts_errors_as_failed_and_says_so():
    document = as_ctrf(parse(ReportFormat.JUNIT, PYTEST), start_ms=10, stop_ms=20)
    summary = document["results"]["summary"]

    assert (summary["tests"], summary["passed"], summary["failed"]) == (5, 2, 2)
    assert summary["skipped"] == 1
    assert {t["rawStatus"] for t in document["results"]["tests"]} == set(Outcome)
    assert json.loads(json.dumps(document)) == document


plain = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs"]))
case_lists = st.lists(
    st.builds(
        Case,
        id=plain.filter(lambda t: "::" not in t and t.strip() == t).map(lambda t: f"suite::{t}x"),
        outcome=st.sampled_from(Outcome),
        duration_s=st.floats(0, 1e6) | st.none(),
        message=plain.map(str.strip),
        file=st.none(),
    ),
    max_size=20,
)


@given(case_lists)
def test_any_report_written_as_junit_is_read_back(cases):
    report = report_of(cases, "junit")
    tags = {"failed": "failure", "error": "error", "skipped": "skipped"}
    lines = []
    for case in report.cases.values():
        name = case.id.removeprefix("suite::")
        time = "" if case.duration_s is None else f' time="{case.duration_s!r}"'
        tag = tags.get(case.outcome.value)
        inner = f"<{tag} message={quoteattr(case.message)}/>" if tag else ""
        lines.append(f'<testcase classname="suite" name={quoteattr(name)}{time}>{inner}</testcase>')
    content = f"<testsuite>{''.join(lines)}</testsuite>".encode()
    read = parse(ReportFormat.JUNIT, content)

    assert read.cases.keys() == report.cases.keys()
    for id, case in report.cases.items():
        assert read.cases[id].outcome is case.outcome
        assert read.cases[id].duration_s == case.duration_s


@given(st.lists(st.tuples(plain.map(lambda t: f"m::{t}"), st.sampled_from(Outcome))))
def test_ids_are_distinct_and_none_is_lost(pairs):
    report = report_of((Case(id, outcome) for id, outcome in pairs), "x")

    assert len(report.cases) == len(pairs)
    assert report.counts.total == len(pairs)


@given(st.sampled_from(ReportFormat), st.binary(max_size=500))
def test_random_bytes_never_crash_a_reader(format, content):
    with suppress(BrokenReport):
        parse(format, content)


@given(st.sampled_from(ReportFormat), st.data())
def test_a_damaged_report_never_crashes_a_reader(format, data):
    position = data.draw(st.integers(0, len(PYTEST)))
    damage = data.draw(st.binary(max_size=20))
    with suppress(BrokenReport):
        parse(format, PYTEST[:position] + damage + PYTEST[position + len(damage) :])
