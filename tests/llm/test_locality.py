"""Which addresses are ours; nothing is looked up to decide it."""

from __future__ import annotations

import socket

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.llm.locality import is_own_address

pytestmark = pytest.mark.req("ORC-3")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:11434",
        "http://[::1]:8000/v1",
        "http://localhost:1234",
        "http://192.168.1.20:11434",
        "https://10.0.0.5",
        "http://[fe80::1]:80",
        "http://ollama:11434",
        "http://box.local",
        "http://gpu.internal:8000",
    ],
)
def test_addresses_of_this_network_are_ours(url: str):
    assert is_own_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://8.8.8.8",
        "http://134744072",
        "http://0x08080808",
        "http://[::ffff:8.8.8.8]",
        "http://[2001:4860:4860::8888]",
        "https://local.example.com",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@example.com",
    ],
)
def test_everything_else_is_the_cloud(url: str):
    assert not is_own_address(url)


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "127.0.0.1:80", "http://", "http://[::1", "http://x:y"]
)
def test_what_is_no_address_is_refused(url: str):
    with pytest.raises(InvalidInput, match="not the address of a model server"):
        is_own_address(url)


def test_no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch):
    def tripwire(*_args, **_options):
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", tripwire)
    assert not is_own_address("https://models.example.com")
