"""Google and Anthropic: cloud models, for workspaces that allow them, behind optional extras."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from quarterdeck.core.errors import InvalidInput
from quarterdeck.llm.port import Answer, Embeddings, ModelFailed, Piece, Request
from quarterdeck.llm.providers import direct
from quarterdeck.llm.providers.settings import ProviderSettings

if TYPE_CHECKING:
    import httpx2
    from pydantic_ai.models import Model


class _Cloud(ABC):
    """What both have in common: a key, no address of ours, no embeddings."""

    _modules: tuple[str, ...]
    _extra: str

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._http: httpx2.AsyncClient | None = None

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def local(self) -> bool:
        return False

    @property
    def concurrency(self) -> int:
        return self._settings.concurrency

    @property
    def host_rate(self) -> Decimal | None:
        return None

    @property
    def price_id(self) -> str | None:
        return self._settings.kind

    async def prepare(self) -> None:
        """Import the libraries off the loop.

        Raises:
            ModelFailed: the extra is not installed; InvalidInput: there is no key.
        """
        if not self._settings.api_key:
            raise InvalidInput(
                "It has no API key.", where=f"provider {self.name}", hint="Put one in the vault."
            )
        if self._http is None:
            await direct.load(*self._modules, extra=self._extra)
        if self._http is None:  # another first call may have made it meanwhile
            from quarterdeck.llm.bounded_http import bounded_client  # noqa: PLC0415 - slow to import

            self._http = bounded_client(local=False)

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Answer]:
        async for part in direct.stream(self.agent_model(request.model.name), request, {}):
            yield part

    def agent_model(self, name: str) -> Model:
        """The library's own model, for calls with tools; see `llm.agent_model`."""
        assert self._http is not None, "prepare() comes first"
        return self._model(name, self._settings.api_key or "", self._http)

    async def embed(self, name: str, texts: Sequence[str]) -> Embeddings:
        raise ModelFailed(
            "This provider is not asked for embeddings.",
            kind="missing",
            where=f"model {self.name}/{name}",
            hint="Use a local embedding model.",
        )

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    @abstractmethod
    def _model(self, name: str, api_key: str, http: httpx2.AsyncClient) -> Model: ...


class Google(_Cloud):
    """Gemini models by Google's API; needs the extra `google`."""

    _modules = ("pydantic_ai.models.google", "pydantic_ai.providers.google")
    _extra = "google"

    def _model(self, name: str, api_key: str, http: httpx2.AsyncClient) -> Model:
        from pydantic_ai.models.google import GoogleModel  # noqa: PLC0415 - an extra
        from pydantic_ai.providers.google import GoogleProvider  # noqa: PLC0415 - an extra

        provider = GoogleProvider(
            api_key=api_key, base_url=self._settings.base_url, http_client=http
        )
        return GoogleModel(name, provider=provider)


class Anthropic(_Cloud):
    """Claude models by Anthropic's API; needs the extra `anthropic`."""

    _modules = ("pydantic_ai.models.anthropic", "pydantic_ai.providers.anthropic")
    _extra = "anthropic"

    def _model(self, name: str, api_key: str, http: httpx2.AsyncClient) -> Model:
        from anthropic import AsyncAnthropic  # noqa: PLC0415 - an extra  # pyrefly: ignore[missing-import] - an extra
        from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415 - an extra
        from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415 - an extra

        client = AsyncAnthropic(
            api_key=api_key, base_url=self._settings.base_url, http_client=http, max_retries=0
        )
        return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))
