"""Options of implementers: what fits is taken, the rest is refused in words that help."""

from __future__ import annotations

from typing import Any

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.features.coding.implementers.acp.options import AcpOptions
from quarterdeck.features.coding.implementers.agent.options import AgentOptions
from quarterdeck.features.coding.implementers.command import CommandOptions
from quarterdeck.features.coding.implementers.options import read_options


def test_a_command_given_as_text_is_refused_with_the_list_it_should_be() -> None:
    with pytest.raises(InvalidInput, match="list of arguments") as refused:
        read_options(CommandOptions, {"argv": "sed -i s/a/b/ x"})
    assert refused.value.where == "implementer_options.argv"
    assert '["sed", "-i", "s/a/b/", "x"]' in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"argv": []},
        {"argv": [""]},
        {"argv": ["a\x00b"]},
        {"argv": [1]},
        {"argv": ["x"] * 65},
        {"argv": ["x" * 4097]},
        {"argv": ["x"], "timeout_s": 0},
        {"argv": ["x"], "timeout_s": float("nan")},
        {"argv": ["x"], "env": {"A=B": "c"}},
        {"argv": ["x"], "env": {"A": "c\x00"}},
        {"argv": ["x"], "shell": True},
    ],
    ids=str,
)
def test_a_command_that_does_not_fit_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_options(CommandOptions, options)
    assert refused.value.where is not None
    assert refused.value.where.startswith("implementer_options")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (AcpOptions, {"argv": ["x"], "loopback_ports": [0]}),
        (AcpOptions, {"argv": ["x"], "loopback_ports": [1, 2, 3, 4, 5]}),
        (AcpOptions, {"argv": ["x"], "idle_timeout_s": 0}),
        (AgentOptions, {"steps_max": 0}),
        (AgentOptions, {"mode": "telepathy"}),
        (AgentOptions, {"commands": {"Lint!": ["ruff"]}}),
        (AgentOptions, {"commands": {"lint": "ruff check"}}),
    ],
)
def test_options_of_agents_are_bounded(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        read_options(kind, options)


def test_defaults_are_usable() -> None:
    assert read_options(AgentOptions, {}).mode == "auto"
    assert read_options(AcpOptions, {"argv": ["agent"]}).loopback_ports == ()
