"""Calls through Pydantic AI's direct interface, translated to and from our own port."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from quarterdeck.llm.port import (
    Answer,
    FailureKind,
    ModelFailed,
    ModelRef,
    Piece,
    Request,
    TokenLogprob,
)

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse, ModelResponseStreamEvent
    from pydantic_ai.models import Model, ModelRequestParameters

TOP_LOGPROBS = 5
# The price data would load inside the first answer otherwise: 0.3 s in which the loop stands still.
_ALWAYS = ("pydantic_ai.direct", "genai_prices.data")
_DROPPED = "The connection ended in the middle of the answer."


async def load(*modules: str, extra: str | None = None) -> None:
    """Import the libraries off the event loop: together they take 1.5 to 2.5 s of CPU.

    Raises:
        ModelFailed: with kind `missing` when one is not installed.
    """
    for module in (*_ALWAYS, *modules):
        try:
            await asyncio.to_thread(importlib.import_module, module)
        except ImportError as error:
            raise ModelFailed(
                f"The library for this provider is not installed ({error.name or module}).",
                kind="missing",
                hint=f"Install it: pip install 'quarterdeck{f'[{extra}]' if extra else ''}'.",
            ) from None


async def stream(
    model: Model, request: Request, settings: Mapping[str, Any]
) -> AsyncGenerator[Piece | Answer]:
    """One request to `model`, streamed; `settings` are added to those the request implies.

    Raises:
        ModelFailed: whatever went wrong, in our words.
    """
    from pydantic_ai.direct import model_request_stream  # noqa: PLC0415 - slow to import

    heard = False
    try:
        async with model_request_stream(
            model,
            _messages(request),
            model_settings=_settings(request, settings),  # type: ignore[arg-type] - settings of one provider's own TypedDict
            model_request_parameters=_parameters(request),
            instrument=False,
        ) as response:
            async for event in response:
                text = _text_of(event)
                if text is not None:
                    heard = True
                    yield Piece(text)
            yield answer_of(response.get(), heard=heard)
    except Exception as error:  # whatever a foreign library raises is this model's failure
        raise failure(error, request.model, heard=heard) from error


def _messages(request: Request) -> list[ModelMessage]:
    from pydantic_ai import messages as m  # noqa: PLC0415 - slow to import

    found: list[ModelMessage] = []
    for message in request.messages:
        if message.role == "assistant":
            found.append(m.ModelResponse(parts=[m.TextPart(message.content)]))
            continue
        part = (
            m.SystemPromptPart(message.content)
            if message.role == "system"
            else m.UserPromptPart(message.content)
        )
        last = found[-1] if found else None
        if isinstance(last, m.ModelRequest):
            found[-1] = m.ModelRequest(parts=[*last.parts, part])
        else:
            found.append(m.ModelRequest(parts=[part]))
    return found


def _settings(request: Request, extra: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {"max_tokens": request.max_tokens, **extra}
    if request.temperature is not None:
        settings["temperature"] = request.temperature
    if request.seed is not None:
        settings["seed"] = request.seed
    return settings


def _parameters(request: Request) -> ModelRequestParameters:
    from pydantic_ai.models import ModelRequestParameters  # noqa: PLC0415 - slow to import
    from pydantic_ai.output import OutputObjectDefinition  # noqa: PLC0415 - slow to import

    if request.schema is None:
        return ModelRequestParameters()
    title = str(request.schema.get("title", "answer"))
    definition = OutputObjectDefinition(json_schema=dict(request.schema), name=title)
    return ModelRequestParameters(output_mode="native", output_object=definition)


def _text_of(event: ModelResponseStreamEvent) -> str | None:
    """The text that an event adds, "" for thinking and other parts, None when it adds nothing."""
    from pydantic_ai import messages as m  # noqa: PLC0415 - slow to import

    if isinstance(event, m.PartStartEvent):
        return event.part.content if isinstance(event.part, m.TextPart) else ""
    if isinstance(event, m.PartDeltaEvent):
        return event.delta.content_delta if isinstance(event.delta, m.TextPartDelta) else ""
    return None


def answer_of(response: ModelResponse, *, heard: bool) -> Answer:
    """The facts a response carries; `heard` says that it came as a stream."""
    usage = response.usage
    details = response.provider_details or {}
    if heard and "finish_reason" not in details:
        # The library would call a stream that just ends finished; every server says why it ends.
        raise ModelFailed(_DROPPED, kind="dropped", retry=True)
    # A response without a usage report counts as zero tokens in the library; we call it unknown.
    reported = usage.input_tokens > 0 or usage.output_tokens > 0
    return Answer(
        model=response.model_name or "",
        finish_reason=response.finish_reason or "stop",
        input_tokens=usage.input_tokens if reported else None,
        output_tokens=usage.output_tokens if reported else None,
        cached_tokens=(usage.cache_read_tokens or None) if reported else None,
        compute_s=_compute_s(details.get("unmapped", {}).get("chunks", ())),
        logprobs=_logprobs(details.get("logprobs")),
    )


def _compute_s(chunks: Iterable[Mapping[str, Any]]) -> float | None:
    """The compute time in llama.cpp's `timings`, in seconds; None where the server has none."""
    for chunk in chunks:
        timings = chunk.get("response", {}).get("timings")
        if isinstance(timings, dict):
            spent = [timings.get("prompt_ms"), timings.get("predicted_ms")]
            return sum(ms for ms in spent if isinstance(ms, int | float)) / 1000
    return None


def _logprobs(tokens: Iterable[Mapping[str, Any]] | None) -> tuple[TokenLogprob, ...] | None:
    if tokens is None:
        return None
    return tuple(
        TokenLogprob(
            token=token["token"],
            logprob=token["logprob"],
            rivals=tuple((r["token"], r["logprob"]) for r in token.get("top_logprobs") or ()),
        )
        for token in tokens
    )


def failure(error: BaseException, model: ModelRef, *, heard: bool) -> ModelFailed:
    """What went wrong, in our words: `heard` says whether part of an answer had come."""
    where = f"model {model}"
    own = _own(error)
    if own is not None:
        return ModelFailed(own.message, kind=own.kind, where=where, hint=own.hint, retry=own.retry)
    kind, message, retry = _diagnosis(error, heard=heard)
    return ModelFailed(message, kind=kind, where=where, retry=retry)


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _own(error: BaseException) -> ModelFailed | None:
    return next((e for e in _chain(error) if isinstance(e, ModelFailed)), None)


def _diagnosis(error: BaseException, *, heard: bool) -> tuple[FailureKind, str, bool]:
    import httpx2  # noqa: PLC0415 - slow to import
    from pydantic_ai import exceptions as e  # noqa: PLC0415 - slow to import

    if isinstance(error, e.ModelHTTPError):
        again = error.status_code == 429 or error.status_code >= 500
        return "http", f"It answered with status {error.status_code}: {_body(error.body)}.", again
    if any(isinstance(cause, httpx2.TimeoutException) for cause in _chain(error)):
        return "timeout", "The server did not accept the connection in time.", True
    if any(isinstance(cause, httpx2.TransportError) for cause in _chain(error)):
        if heard:
            return "dropped", _DROPPED, True
        return "connection", "The server could not be reached or closed the connection.", True
    return "garbage", f"What it sent is not an answer: {_short(str(error))}", False


def _body(body: object) -> str:
    message = body.get("message") if isinstance(body, dict) else None
    return _short(str(message or body or "no reason given")).rstrip(".")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:297]}..."
