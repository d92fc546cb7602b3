"""Security risks and secrets that a change adds, and only those."""

import pytest

from quarterdeck.features.coding.audit import Change
from quarterdeck.features.coding.scan import Severity, scan, secrets_in

pytestmark = pytest.mark.req("ORC-9")
TOKEN = "ghp_" + "0123456789abcdefABCDEF0123456789abcd"


def test_a_secret_in_an_added_line_is_found_and_never_repeated():
    change = Change("pkg/a.py", b"x = 1\n", f"x = 1\ntoken = '{TOKEN}'\n".encode())
    found = secrets_in([change])

    assert [(r.rule, r.severity, r.line) for r in found] == [("secret", Severity.HIGH, 2)]
    assert TOKEN not in repr(found)
    assert TOKEN[4:20] not in repr(found)


@pytest.mark.parametrize(
    ("line", "severity"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----", Severity.HIGH),
        ("key = 'AKIAIOSFODNN7EXAMPL3'", Severity.HIGH),
        ("password = 'correct-horse-battery'", Severity.MEDIUM),
        ("password = os.environ['PASSWORD']", None),
        ("x = 1", None),
    ],
)
def test_secrets_are_graded_by_how_sure_they_are(line, severity):
    found = secrets_in([Change("pkg/a.py", b"", line.encode())])

    assert [risk.severity for risk in found] == ([severity] if severity else [])


def test_a_secret_that_was_there_already_is_not_news():
    old = f"token = '{TOKEN}'\n".encode()

    assert secrets_in([Change("a.py", old, b"import os\n" + old)]) == []


def test_a_password_in_a_test_weighs_little():
    found = secrets_in([Change("tests/test_a.py", b"", b"password = 'correct-horse-battery'")])

    assert [risk.severity for risk in found] == [Severity.LOW]


async def test_only_new_risks_are_told_whatever_the_file_silences(tmp_path):
    old = b"import pickle\n\n\ndef load(x):\n    return pickle.loads(x)\n"
    new = (
        b"import subprocess\n"
        + old
        + b"\n\ndef run(x):\n    subprocess.run(x, shell=True)  # noqa\n"
    )
    result = await scan([Change("pkg/a.py", old, new)], scratch=tmp_path)

    assert result.trouble is None
    assert [(r.rule, r.severity, r.line) for r in result.of(Severity.HIGH)] == [
        ("S602", Severity.HIGH, 10)
    ]
    assert "S301" not in {risk.rule for risk in result.risks}
    assert list(tmp_path.iterdir()) == []


async def test_the_trees_own_settings_do_not_count(tmp_path):
    changes = [
        Change("ruff.toml", None, b"[lint]\nignore = ['S']\n"),
        Change("pkg/b.py", None, b"exec(input())\n"),
    ]
    result = await scan(changes, scratch=tmp_path)

    assert [(r.rule, r.path) for r in result.of(Severity.HIGH)] == [("S102", "pkg/b.py")]


async def test_a_file_that_does_not_parse_gives_no_false_calm(tmp_path):
    result = await scan([Change("a.py", b"x = 1\n", b"def broken(\n")], scratch=tmp_path)

    assert result.risks == ()


async def test_nothing_to_scan_is_clean(tmp_path):
    assert await scan([Change("a.md", b"", b"Hello")], scratch=tmp_path) == await scan(
        [], scratch=tmp_path
    )
