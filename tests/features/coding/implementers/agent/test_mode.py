"""Which mode a model works in."""

from __future__ import annotations

import pytest

from quarterdeck.features.coding.implementers.agent.mode import mode_for
from quarterdeck.features.coding.implementers.agent.options import Mode


@pytest.mark.parametrize(
    ("name", "local", "mode"),
    [
        ("qwen2.5-coder:7b", True, Mode.WHOLE_FILE),
        ("qwen2.5-coder:32b-instruct", True, Mode.TOOLS),
        ("llama3.2", True, Mode.WHOLE_FILE),
        ("llama-3.1-70B-Instruct", True, Mode.TOOLS),
        ("smollm2-135m", True, Mode.WHOLE_FILE),
        ("mixtral:8x22b", True, Mode.TOOLS),
        ("some-cloud-model", False, Mode.TOOLS),
    ],
)
def test_auto_trusts_large_models_with_tools(name: str, local: bool, mode: Mode) -> None:
    assert mode_for(Mode.AUTO, name, local=local) is mode


def test_an_explicit_mode_wins() -> None:
    assert mode_for(Mode.TOOLS, "tiny:1b", local=True) is Mode.TOOLS
    assert mode_for(Mode.WHOLE_FILE, "big", local=False) is Mode.WHOLE_FILE
