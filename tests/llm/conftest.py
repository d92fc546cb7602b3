"""A gateway over real HTTP to a scripted model server, and the record of what its calls took."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from quarterdeck.llm.configured import provider_for
from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import Limits, Message, ModelRef, Request, Usage
from quarterdeck.llm.providers.settings import ProviderSettings
from quarterdeck.llm.scripted import ScriptedServer

MODEL = "qwen2.5-coder:7b"
CLOUD = "big-cloud"
"""Named as the models are that Ollama forwards to its cloud."""
QUICK = Limits(queue_s=5, first_chunk_s=5, total_s=5, retry_wait_s=0.01)


@dataclass
class Bench:
    """A scripted server, the gateway in front of it, and the usage records it gave."""

    server: ScriptedServer
    gateway: Gateway
    usages: list[Usage] = field(default_factory=list)

    def request(self, text: str = "Hello", **options) -> Request:
        messages = options.pop("messages", (Message("user", text),))
        return Request(ModelRef("mentor", MODEL), messages, **options)

    async def ask(self, text: str = "Hello", *, limits: Limits = QUICK, **options):
        return await self.gateway.complete(
            self.request(text, **options), purpose="test", limits=limits
        )


@pytest.fixture
async def bench() -> AsyncIterator[Callable[..., Bench]]:
    """Makes benches: `bench(rules, kind=…, limits=…)`; all of them are closed at the end."""
    made: list[Bench] = []

    def make(rules=(), *, kind="ollama", limits=QUICK, **settings) -> Bench:
        server = ScriptedServer(rules, models=[MODEL, CLOUD]).__enter__()
        usages: list[Usage] = []
        provider = provider_for(ProviderSettings("mentor", kind, base_url=server.url, **settings))
        gateway = Gateway([provider], on_usage=usages.append, limits=limits)
        made.append(Bench(server, gateway, usages))
        return made[-1]

    yield make
    for each in made:
        await each.gateway.aclose()
        each.server.__exit__(None, None, None)
