"""Providers from settings: what is accepted, what is missing, and that starting up stays cheap."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.llm.configured import provider_for, providers_for
from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import Message, ModelFailed, ModelRef, Request
from quarterdeck.llm.providers.settings import ProviderSettings


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "Bad Name", "kind": "ollama"}, "not a provider's name"),
        ({"name": "bundled", "kind": "ollama"}, "kept for the kind"),
        ({"name": "google", "kind": "openai_compatible"}, "kept for the kind"),
        ({"name": "x", "kind": "openai_compatible"}, "has no address"),
        ({"name": "x", "kind": "ollama", "base_url": "localhost:1"}, "not the address"),
        ({"name": "x", "kind": "ollama", "concurrency": 0}, "calls at once"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields, words):
    with pytest.raises(InvalidInput, match=words):
        ProviderSettings(**fields)


@pytest.mark.req("ORC-3")
def test_an_administrator_can_declare_a_public_address_as_ours():
    address = {"kind": "openai_compatible", "base_url": "https://gpu.example.com/v1"}
    assert not ProviderSettings("gpu", **address).local
    assert ProviderSettings("gpu", own=True, **address).local
    assert not ProviderSettings("google", "google", own=True).local


def test_two_providers_cannot_share_a_name():
    both = [ProviderSettings("x", "ollama"), ProviderSettings("x", "ollama")]
    with pytest.raises(InvalidInput, match="Two providers are called 'x'"):
        providers_for(both)


def test_a_key_does_not_show_in_a_message():
    assert "s3cret" not in repr(ProviderSettings("google", "google", api_key="s3cret"))


@pytest.mark.parametrize("kind", ["google", "anthropic"])
async def test_a_cloud_provider_without_a_key_says_so(kind):
    provider = provider_for(ProviderSettings(kind, kind))
    with pytest.raises(InvalidInput, match="no API key"):
        await provider.prepare()


@pytest.mark.parametrize("kind", ["google", "anthropic"])
async def test_a_missing_extra_is_named(kind, monkeypatch):
    for module in [name for name in sys.modules if name.startswith(f"pydantic_ai.models.{kind}")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "google" if kind == "google" else "anthropic", None)
    usages = []
    gateway = Gateway(
        [provider_for(ProviderSettings(kind, kind, api_key="k"))], on_usage=usages.append
    )
    request = Request(ModelRef(kind, "some-model"), (Message("user", "hello"),))
    with pytest.raises(ModelFailed) as caught:
        await gateway.complete(request, purpose="test", allow_cloud=True)
    assert caught.value.kind == "missing"
    assert f"quarterdeck[{kind}]" in str(caught.value)
    assert [usage.outcome for usage in usages] == ["failed"]


def test_wiring_the_gateway_loads_none_of_the_heavy_libraries():
    program = (
        "import sys\n"
        "import quarterdeck.llm.discovery, quarterdeck.llm.gateway\n"
        "from quarterdeck.llm.configured import providers_for\n"
        "from quarterdeck.llm.providers.settings import ProviderSettings as S\n"
        "providers_for([S('ollama', 'ollama'), S('bundled', 'bundled'), S('google', 'google')])\n"
        "heavy = {'pydantic_ai', 'openai', 'httpx2', 'genai_prices', 'xllamacpp', 'uvicorn'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
    assert importlib.util.find_spec("pydantic_ai") is not None
