"""What a request and a model's name may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.errors import InvalidInput
from quarterdeck.llm.port import Message, ModelRef, Request

REF = ModelRef("ollama", "llama3.2")


@given(
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True),
    st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9.:/@+-]{0,40}", fullmatch=True),
)
def test_a_model_reads_back_as_it_is_written(provider: str, name: str):
    ref = ModelRef(provider, name)
    assert ModelRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text", ["", "llama3", "/llama3", "ollama/", "Ollama/x", "ollama/a b", "a/\n"]
)
def test_what_does_not_name_a_model_is_refused(text: str):
    with pytest.raises(InvalidInput, match="does not name a model"):
        ModelRef.parse(text)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("qwen2.5-coder:7b", "qwen"),
        ("qwq:32b", "qwen"),
        ("llama3.2", "llama"),
        ("codellama:13b", "llama"),
        ("hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", "llama"),
        ("deepseek-coder:6.7b", "deepseek"),
        ("deepseek-r1-distill-qwen:7b", "deepseek"),
        ("mixtral:8x7b", "mistral"),
        ("dolphin-mistral", "mistral"),
        ("smollm2-135m", "smollm"),
        ("gemma3:270m", "gemma"),
        ("gemini-3-pro", "gemini"),
        ("falcon3:7b", "falcon"),
    ],
)
@pytest.mark.req("ORC-4")
def test_models_of_one_lineage_are_one_family(name: str, family: str):
    assert ModelRef("ollama", name).family == family


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("ollama/llama3.2", True),
        ("bundled/smollm2-135m", True),
        ("ollama/gpt-oss:120b-cloud", False),
        ("google/gemini-3-pro", False),
        ("anthropic/claude-haiku", False),
        ("openai/gpt-5", False),
    ],
)
def test_a_name_says_when_a_model_is_in_the_cloud(text: str, local: bool):
    assert ModelRef.parse(text).local is local


def test_only_the_bundled_model_is_a_demonstration():
    assert ModelRef("bundled", "smollm2-135m").demonstration
    assert not REF.demonstration


@pytest.mark.parametrize(
    ("where", "options"),
    [
        ("messages", {"messages": ()}),
        ("max_tokens", {"max_tokens": 0}),
        ("temperature", {"temperature": 3.0}),
        ("schema", {"schema": {"type": "string"}}),
    ],
)
def test_a_request_out_of_range_is_refused(where: str, options: dict):
    fields = {"messages": (Message("user", "x"),), **options}
    with pytest.raises(InvalidInput) as caught:
        Request(REF, **fields)
    assert caught.value.where == where


@pytest.mark.parametrize("name", ["glm-4.6:cloud", "gpt-oss:120b-cloud"])
def test_names_that_ollama_forwards_are_not_local(name: str):
    assert not ModelRef("ollama", name).local
