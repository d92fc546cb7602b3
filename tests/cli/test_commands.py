"""Every command: its help, its JSON, its empty state and its errors; never a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quarterdeck.cli.main import app
from tests.cli.conftest import Ended, Shell


def commands(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    children: dict[str, Any] = getattr(node, "commands", {})
    yield path
    for name, child in children.items():
        yield from commands(child, (*path, name))


ALL = list(commands(typer.main.get_command(app)))
GROUPS = {(), ("mission",), ("model",), ("memory",)}
LEAVES = [path for path in ALL if path not in GROUPS]
ENDLESS = {("serve",), ("demo",), ("model", "pull")}
"""Commands that go on for long when their arguments happen to be right."""
FUZZED = [path for path in ALL if path not in ENDLESS]
CODES = {0, 1, 2, 3}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help(shell: Shell, path):
    ended = shell(*path, "--help")
    assert ended.code == 0
    assert "Usage: " in ended.stdout
    assert not ended.stderr


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_can_answer_in_json(shell: Shell, path):
    assert "--json" in shell(*path, "--help").stdout


def test_the_help_names_the_exit_codes(shell: Shell):
    text = shell("--help").stdout
    assert "3 a mission waits" in " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("mission", "list"), "missions"),
        (("memory", "search", "nothing"), "hits"),
        (("model", "list"), "models"),
        (("demo", "--list"), "samples"),
    ],
)
def test_an_empty_installation_answers_in_json(shell: Shell, words, key):
    ended = shell(*words, "--json")
    assert ended.code == 0
    assert key in ended.last


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("mission", "list"), "Begin with: quarterdeck mission submit"),
        (("memory", "search", "nothing"), "Nothing was found"),
        (("model", "list"), "quarterdeck model pull"),
    ],
)
def test_an_empty_state_says_what_to_do(shell: Shell, words, told):
    assert told in " ".join(shell(*words).stdout.split())


@pytest.mark.parametrize(
    "words",
    [
        ("mission", "show", "nobody"),
        ("mission", "watch", "nobody"),
        ("mission", "diff", "nobody"),
        ("mission", "approve", "nobody"),
        ("mission", "promote", "nobody"),
        ("mission", "reject", "nobody"),
        ("mission", "continue", "nobody"),
        ("mission", "answer", "nobody", "yes"),
        ("mission", "rerun", "nobody"),
        ("mission", "rollback", "nobody"),
        ("mission", "cancel", "nobody"),
        ("demo", "--sample", "nobody"),
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_an_error_that_says_so(shell: Shell, words):
    ended = shell(*words, "--json")
    assert ended.code == 1
    assert ended.last["error"] == "not-found"
    assert "nobody" in ended.last["detail"] + str(ended.last["where"])
    spoken = shell(*words)
    assert spoken.code == 1
    assert spoken.stderr.startswith("error ")
    assert not spoken.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("mission", "show"),
        ("mission", "no-such-command"),
        ("mission", "list", "--limit", "many"),
        ("mission", "list", "--limit", "0"),
        ("nothing",),
        ("--nothing",),
        ("serve", "--port", "eighty"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_two(shell: Shell, words):
    ended = shell(*words, "--json")
    assert ended.code == 2
    assert "--help" in ended.last["hint"]
    spoken = shell(*words)
    assert spoken.code == 2
    assert spoken.stderr.startswith("error ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("mission", "submit", "x", "--constraint", "no-value"), "NAME=JSON"),
        (("mission", "submit", "@/no/such/file"), "cannot be read"),
        (("mission", "submit", ""), "brief"),
        (("mission", "submit", "x", "--id", "../up"), "mission_id"),
        (("mission", "submit", "x", "--recipe", "none"), "recipe"),
        (("mission", "answer", "m", "c", "--value", "broken"), "NAME=JSON"),
        (("serve", "--host", "192.0.2.1"), "loopback"),
        (("serve", "--port", "65536"), "port"),
        (("mission", "list", "--status", "sleepy"), "status"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_bad_input_is_named(shell: Shell, words, told):
    ended = shell(*words, "--json")
    assert ended.code in (1, 2)
    document = ended.last
    assert told in f"{document['where']} {document['detail']} {document['hint']}"


def test_a_data_directory_that_is_a_file(shell: Shell, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    ended = shell("mission", "list", "--data", str(file), "--json")
    assert ended.code == 1
    assert str(file) in ended.last["where"]


def test_broken_settings(shell: Shell):
    (shell.data / "settings.yaml").write_text("port: [not a port")
    ended = shell("mission", "list", "--json")
    assert ended.code == 1
    assert "settings.yaml" in ended.last["where"]


def test_the_version(shell: Shell):
    assert shell("--version").stdout.startswith("quarterdeck ")


def test_what_is_unexpected_is_a_sentence(shell: Shell, monkeypatch):
    def broken(*_words: object, **_more: object) -> None:
        raise RuntimeError("wires crossed")

    monkeypatch.setattr("quarterdeck.settings.load_settings", broken)
    ended = shell("mission", "list", "--json")
    assert ended.code == 1
    assert "RuntimeError: wires crossed" in ended.last["detail"]
    assert "QUARTERDECK_DEBUG" in ended.last["hint"]


def test_doctor(shell: Shell):
    ended = shell("doctor", "--json")
    checks = {check["name"]: check for check in ended.last["checks"]}
    assert checks["git"]["ok"]
    assert checks["confined command"]["ok"]
    assert not checks["models"]["ok"]
    assert ended.code == 1
    assert "✓ ok" in shell("doctor").stdout


def test_a_reader_that_has_enough_is_no_error(shell: Shell):
    process = shell.start("mission", "list", "--json")
    assert process.stdout is not None
    process.stdout.close()
    process.wait(60)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


WORDS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["--reason", "--limit", "--yes", "--data", "--status", "-c", "--", "--json"]),
    st.sampled_from(["show", "list", "\x1b[31m", "../up", "@", "a=b", "-1", "NaN", "💥", "\x00"]),
)


def _fuzzed(shell: Shell, words: list[str]) -> Ended:
    ended = shell(*words)
    assert ended.code in CODES
    return ended


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(FUZZED), more=st.lists(WORDS, max_size=4))
def test_no_words_make_a_traceback(shell: Shell, monkeypatch, tmp_path, path, more):
    monkeypatch.chdir(tmp_path)
    if path == ("mission", "submit"):
        more = ["--repo", "/no/such/repository", *more]
    _fuzzed(shell, [*path, *more])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from([p for p in LEAVES if p not in ENDLESS]),
    more=st.lists(st.text(max_size=20), max_size=4),
)
def test_the_last_line_is_json_whatever_was_asked(shell: Shell, monkeypatch, tmp_path, path, more):
    monkeypatch.chdir(tmp_path)
    if path == ("mission", "submit"):
        more = ["--repo", "/no/such/repository", *more]
    if "--help" in more:
        return
    ended = _fuzzed(shell, [*path, "--json", *more])
    assert isinstance(json.loads(ended.stdout.rstrip("\n").rsplit("\n", 1)[-1]), dict)


def test_a_failure_behind_the_api_goes_to_the_log_file(shell: Shell, monkeypatch):
    async def broken(*_words: object) -> None:
        raise RuntimeError("wires crossed")

    monkeypatch.setattr("quarterdeck.storage.missions.Missions.page", broken)
    ended = shell("mission", "list", "--json")
    assert ended.code == 1
    assert not ended.stderr
    assert "wires crossed" in (shell.data / "quarterdeck.log").read_text()
    assert str(shell.data / "quarterdeck.log") in ended.last["hint"]
