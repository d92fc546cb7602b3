"""Any server that speaks OpenAI's chat protocol: Ollama, llama.cpp, vLLM, LM Studio, a company's gateway."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from quarterdeck.llm.port import Answer, Embeddings, ModelFailed, ModelRef, Piece, Request
from quarterdeck.llm.providers import direct
from quarterdeck.llm.providers.settings import ProviderSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from pydantic_ai.models import Model
    from pydantic_ai.profiles import ModelProfile
    from pydantic_ai.providers import Provider

NO_KEY = "none"
"""Sent where no key is set: the client insists on one, servers of our own ignore it."""
OPENAI_URL = "https://api.openai.com/v1"
DIMENSIONS_MAX = 16_384
_LIBRARIES = (
    "pydantic_ai.models.ollama",
    "pydantic_ai.providers.openai_compatible",
    "openai.resources.chat",
)


class OpenAICompatible:
    """One such server; also Ollama (its `/v1` routes) and OpenAI itself."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._client: AsyncOpenAI | None = None

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def local(self) -> bool:
        return self._settings.local

    @property
    def concurrency(self) -> int:
        return self._settings.concurrency

    @property
    def host_rate(self) -> Decimal | None:
        return self._settings.host_rate

    @property
    def price_id(self) -> str | None:
        return "openai" if self._settings.kind == "openai" else None

    async def prepare(self) -> None:
        """Import the libraries off the loop and make the client; opens no connection."""
        if self._client is None:
            await direct.load(*_LIBRARIES)
        if self._client is None:  # another first call may have made it meanwhile
            self._client = self._made_client()

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Answer]:
        settings: dict[str, Any] = {"openai_include_unmapped_response_data": True}
        if request.logprobs:
            settings |= {"openai_logprobs": True, "openai_top_logprobs": direct.TOP_LOGPROBS}
        model = self._model(request.model.name)
        async for part in direct.stream(model, request, settings):
            yield part

    def agent_model(self, name: str) -> Model:
        """The library's own model, for calls with tools; see `llm.agent_model`."""
        return self._model(name)

    async def embed(self, name: str, texts: Sequence[str]) -> Embeddings:
        client = self._ready()
        try:
            found = await client.embeddings.create(
                model=name, input=list(texts), encoding_format="float"
            )
            vectors = tuple(tuple(map(float, item.embedding)) for item in found.data)
            tokens = found.usage.prompt_tokens if found.usage else None
        except Exception as error:  # whatever a foreign library raises is this model's failure
            raise direct.failure(error, ModelRef(self.name, name), heard=False) from error
        _check_vectors(vectors, len(texts), where=f"model {self.name}/{name}")
        return Embeddings(vectors, found.model or name, len(vectors[0]), tokens)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _ready(self) -> AsyncOpenAI:
        assert self._client is not None, "prepare() comes first"
        return self._client

    def _made_client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI  # noqa: PLC0415 - slow to import

        from quarterdeck.llm.bounded_http import bounded_client  # noqa: PLC0415 - slow to import

        return AsyncOpenAI(
            base_url=_api_url(self._settings),
            api_key=self._settings.api_key or NO_KEY,
            http_client=bounded_client(local=self.local),
            max_retries=0,
        )

    def _model(self, name: str) -> Model:
        from pydantic_ai.models.ollama import OllamaModel  # noqa: PLC0415 - slow to import
        from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415 - slow to import
        from pydantic_ai.providers.ollama import OllamaProvider  # noqa: PLC0415 - slow to import
        from pydantic_ai.providers.openai_compatible import (  # noqa: PLC0415 - slow to import
            OpenAICompatibleProvider,
        )

        client = self._ready()
        if self._settings.kind == "ollama":
            provider = OllamaProvider(openai_client=client)
            return OllamaModel(name, provider=provider, profile=_profile(provider, name))
        compatible = OpenAICompatibleProvider(self.name, openai_client=client)
        if self._settings.kind == "openai":
            return OpenAIChatModel(name, provider=compatible)
        return OpenAIChatModel(name, provider=compatible, profile=_profile(compatible, name))


def _profile(provider: Provider[AsyncOpenAI], name: str) -> ModelProfile:
    """The library's profile of the model, put right for servers of this kind.

    Ollama and older servers know `max_tokens` only and would ignore a limit under its new name;
    the schema goes to all of them as a grammar, unchanged.
    """
    from pydantic_ai.profiles import merge_profile  # noqa: PLC0415 - slow to import
    from pydantic_ai.profiles.openai import OpenAIModelProfile  # noqa: PLC0415 - slow to import

    return merge_profile(
        provider.model_profile(name),
        OpenAIModelProfile(
            openai_chat_supports_max_completion_tokens=False,
            openai_supports_strict_tool_definition=False,
            supports_json_schema_output=True,
        ),
    )


def _api_url(settings: ProviderSettings) -> str:
    if settings.kind == "openai":
        return settings.address or OPENAI_URL
    return settings.address if settings.address.endswith("/v1") else f"{settings.address}/v1"


def _check_vectors(vectors: tuple[tuple[float, ...], ...], count: int, *, where: str) -> None:
    lengths = {len(vector) for vector in vectors}
    usable = len(vectors) == count and len(lengths) == 1 and 1 <= max(lengths) <= DIMENSIONS_MAX
    if not usable or not all(math.isfinite(x) for vector in vectors for x in vector):
        raise ModelFailed(
            f"It sent {len(vectors)} vectors of {sorted(lengths)} numbers for {count} texts.",
            kind="garbage",
            where=where,
        )
