"""`quarterdeck.yaml` is strict and says what does not fit."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.errors import InvalidInput, QuarterdeckError, TooLarge
from quarterdeck.features.coding.commands import ReportFormat, Source
from quarterdeck.features.coding.override import parse

pytestmark = pytest.mark.req("ORC-6")

WHOLE = b"""
ecosystem: python
setup: ["sh", "-c", "pip install . && true"]
build: make all
test: pytest -q --junitxml={report}
report: junit
env:
  MODE: "on"
timeout_s: 90
protected:
  - data/**
directory: backend
"""


def test_every_key_is_understood():
    commands = parse(WHOLE)

    assert commands.source is Source.OVERRIDE
    assert commands.setup is not None
    assert commands.setup.argv == ("sh", "-c", "pip install . && true")
    assert commands.test is not None
    assert commands.test.argv == ("pytest", "-q", "--junitxml={report}")
    assert commands.test.report is ReportFormat.JUNIT
    assert commands.test.env == {"MODE": "on"}
    assert commands.test.timeout_s == 90
    assert commands.test.directory == "backend"
    assert commands.test.provenance == "quarterdeck.yaml:5"
    assert commands.protected == ("data/**",)


def test_a_report_may_have_a_place_of_its_own():
    test = parse(b"test: mvn test\nreport: {path: 'target/*.xml'}\n").test

    assert test is not None
    assert (test.report, test.report_glob) == (ReportFormat.JUNIT, "target/*.xml")


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("test: x {report}\ntimeout: 5\n", "quarterdeck.yaml:2", "'timeout' is not a key"),
        ("test: pytest\n", "quarterdeck.yaml:1", "writes no report"),
        ("test: a | b {report}\n", "quarterdeck.yaml:1", "shell syntax"),
        ("test: x {report}\nenv:\n  A: on\n", "quarterdeck.yaml:3", "reads as bool"),
        ("test: x {report}\nenv:\n  A: 010\n", "quarterdeck.yaml:3", "reads as int"),
        ("test: x {report}\nenv:\n  A: 1e3\n  B: 12:30\n", "quarterdeck.yaml:4", "reads as int"),
        ("test: x {report}\nenv:\n  A: 2026-01-01\n", "quarterdeck.yaml:3", "reads as timestamp"),
        ("test: x {report}\nenv:\n  A:\n", "quarterdeck.yaml:3", "reads as null"),
        ("test: [x, '{report}', 1.0]\n", "quarterdeck.yaml:1", "reads as float"),
        ("test: x {report}\ntest: y\n", "quarterdeck.yaml:2", "stated twice"),
        ("test: x {report}\ntimeout_s: soon\n", "quarterdeck.yaml:2", "no number of seconds"),
        ("test: x {report}\nprotected: ['../x']\n", "quarterdeck.yaml:2", "leaves the repository"),
        ("test: x {report}\ndirectory: /etc\n", "quarterdeck.yaml:2", "leaves the repository"),
        ("test: &a x\nbuild: *a\n", "quarterdeck.yaml:2", "alias"),
        ("test: x\nreport: yaml\n", "quarterdeck.yaml:2", "no report format"),
        ("env: {}\n", "quarterdeck.yaml:1", "states no command"),
        ("- test\n", "quarterdeck.yaml:1", "key: value"),
        ("a: 1\n---\nb: 2\n", "quarterdeck.yaml:2", "second document"),
        ("test: [x\n", "quarterdeck.yaml:2", "not YAML"),
        ("? [a]\n: b\n", "quarterdeck.yaml:1", "key must be a text"),
        ("", "quarterdeck.yaml", "empty"),
        ("test: !!python/object:os.system x\n", "quarterdeck.yaml:1", "reads as"),
    ],
)
def test_each_mistake_is_named_with_its_place(text, where, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        parse(text.encode())
    assert caught.value.where == where


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(InvalidInput, match="not UTF-8"):
        parse(b"test: \xff\n")


@pytest.mark.parametrize("content", [b"a: " + b"[" * 500, b"x" * 70_000])
def test_depth_and_size_are_bounded(content):
    with pytest.raises(TooLarge):
        parse(content)


@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda t: t.encode("utf-8", "replace")))
def test_no_bytes_make_it_fail_otherwise(content):
    with suppress(QuarterdeckError):
        parse(content)
