"""Permission answers: a rule for each kind of request, and never for ever."""

from __future__ import annotations

import pytest

from quarterdeck.features.coding.implementers.acp.permission import Asked, Decision, decide

OPTIONS = {"o": "allow_once", "a": "allow_always", "r": "reject_once"}


def answer(kind: str | None, *paths: str, allow_commands: bool = True) -> Decision:
    asked = Asked("Do it", kind, paths, OPTIONS)
    return decide(asked, inside=lambda p: p.startswith("/box/"), allow_commands=allow_commands)


@pytest.mark.parametrize(
    ("kind", "paths", "allowed"),
    [
        ("edit", ["/box/a"], True),
        ("edit", ["/box/a", "/etc/passwd"], False),
        ("edit", [], False),
        ("delete", ["/box/a"], True),
        ("move", ["/box/a", "/box/b"], True),
        ("read", [], True),
        ("read", ["/etc/passwd"], False),
        ("search", ["/box/"], True),
        ("think", [], True),
        ("execute", [], True),
        ("execute", ["/etc"], False),
        ("fetch", [], False),
        ("switch_mode", [], False),
        ("other", ["/box/a"], False),
        (None, [], False),
    ],
)
def test_inside_the_sandbox_yes_else_no(kind: str | None, paths: list[str], allowed: bool) -> None:
    decision = answer(kind, *paths)
    assert decision.allowed is allowed
    assert decision.option == ("o" if allowed else "r")
    assert decision.reason


def test_commands_can_be_forbidden() -> None:
    assert not answer("execute", allow_commands=False).allowed


def test_always_is_never_the_answer() -> None:
    asked = Asked("Edit", "edit", ["/box/a"], {"a": "allow_always", "n": "reject_always"})
    decision = decide(asked, inside=lambda _: True, allow_commands=True)
    assert decision == Decision(False, "n", "The agent does not offer to allow it once.")


def test_without_an_answer_to_choose_the_request_is_cancelled() -> None:
    asked = Asked("Edit", "edit", ["/etc/x"], {})
    assert decide(asked, inside=lambda _: False, allow_commands=True).option is None
