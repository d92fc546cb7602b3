"""Models for agents that call tools: Pydantic AI's own, with every request through the gateway.

Importing this module takes about 1.3 s of CPU: import it off the event loop, when it is needed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Protocol, runtime_checkable

from pydantic_ai import RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import Answer, ModelFailed, ModelRef, Provider
from quarterdeck.llm.providers import direct


@runtime_checkable
class ToolProvider(Protocol):
    """A provider whose models can be given tools."""

    def agent_model(self, name: str) -> Model: ...


async def agent_model(
    gateway: Gateway, model: ModelRef, *, purpose: str, allow_cloud: bool = False
) -> Model:
    """`model` for an agent loop: admission, queue, time limits and usage are the gateway's.

    Raises:
        Denied: it is in the cloud and `allow_cloud` is false.
        NotFound: no such provider is configured.
        ModelFailed: the provider cannot be given tools.
    """
    provider = await gateway.ready(model, allow_cloud=allow_cloud)
    if not isinstance(provider, ToolProvider):
        raise ModelFailed(
            "Its provider does not take tools.", kind="missing", where=f"model {model}"
        )
    wrapped = provider.agent_model(model.name)
    return GatewayModel(wrapped, gateway, model, purpose=purpose, allow_cloud=allow_cloud)


class GatewayModel(WrapperModel):
    """A model whose requests are calls of the gateway."""

    def __init__(
        self, wrapped: Model, gateway: Gateway, ref: ModelRef, *, purpose: str, allow_cloud: bool
    ) -> None:
        super().__init__(wrapped)
        self._gateway = gateway
        self._ref = ref
        self._purpose = purpose
        self._allow_cloud = allow_cloud

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        async def ask(_: Provider) -> tuple[ModelResponse, Answer]:
            try:
                response = await self.wrapped.request(
                    messages, model_settings, model_request_parameters
                )
            except Exception as error:  # whatever a foreign library raises is this model's failure
                raise direct.failure(error, self._ref, heard=False) from error
            return response, direct.answer_of(response, heard=False)

        return await self._gateway.exchange(
            self._ref, ask, purpose=self._purpose, allow_cloud=self._allow_cloud
        )

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Refused: a stream would go past the gateway's record."""
        raise ModelFailed(
            "Agents wait for whole answers here.", kind="missing", where=f"model {self._ref}"
        )
        yield
