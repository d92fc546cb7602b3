"""The one door to models: who may be asked, how long, how much, and what it took (ORC-3, ORC-4, TEL-4)."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TypeVar

import orjson

from quarterdeck.core.clock import Clock, SystemClock
from quarterdeck.core.errors import Denied, InvalidInput, NotFound, QuarterdeckError, TooLarge
from quarterdeck.core.events import Json
from quarterdeck.llm.call import Call
from quarterdeck.llm.port import (
    Answer,
    Delta,
    Embeddings,
    Limits,
    ModelFailed,
    ModelRef,
    Piece,
    Provider,
    Reply,
    Request,
    Usage,
)
from quarterdeck.llm.schema import problem_with

OnUsage = Callable[[Usage], None]
Given = TypeVar("Given")

TEXTS_MAX = 512


class Gateway:
    """Calls models within limits, on behalf of steps; to be shared within one event loop.

    `on_usage` is told about every call, also those that failed, were refused or were abandoned.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        on_usage: OnUsage,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._slots = {p.name: asyncio.Semaphore(p.concurrency) for p in providers}
        self._on_usage = on_usage
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()

    def reporting_to(self, on_usage: OnUsage) -> Gateway:
        """The same gateway (providers, limits, slots) that tells `on_usage` instead."""
        other = Gateway((), on_usage=on_usage, limits=self._limits, clock=self._clock)
        other._providers = self._providers
        other._slots = self._slots
        return other

    def is_local(self, model: ModelRef) -> bool:
        """Whether the model runs on a machine of ours: its provider's address and its name say so.

        Raises:
            NotFound: no such provider is configured.
        """
        return self._provider(model).local and model.local

    async def complete(
        self,
        request: Request,
        *,
        purpose: str,
        allow_cloud: bool = False,
        limits: Limits | None = None,
    ) -> Reply:
        """Ask once and wait for the whole answer; the rest is as in `stream`."""
        parts = self.stream(request, purpose=purpose, allow_cloud=allow_cloud, limits=limits)
        async with aclosing(parts):
            async for part in parts:
                if isinstance(part, Reply):
                    return part
        raise AssertionError("a stream ends with a reply or an error")

    async def stream(
        self,
        request: Request,
        *,
        purpose: str,
        allow_cloud: bool = False,
        limits: Limits | None = None,
    ) -> AsyncGenerator[Delta | Reply]:
        """Ask once: text as it arrives, then the `Reply`. Close it (`aclosing`) to stop the model.

        A text that does not fit the schema is still a reply, with its `problem`. A stream that goes
        on past `max_tokens` or the byte limit is cut: its reply has `finish_reason` `cut`.

        Raises:
            Denied: the model is in the cloud and `allow_cloud` is false; nothing was sent.
            NotFound: no such provider is configured.
            TooLarge: the messages are over the limit.
            ModelFailed: no answer within the limits, or a broken one.
        """
        bounds = limits or self._limits
        call = Call(request.model, purpose, "chat", self._clock)
        with self._recorded(call):
            provider = self._admitted(call, allow_cloud=allow_cloud)
            _check_prompt(request, bounds)
            async with (
                self._slot(provider, call, bounds),
                aclosing(_pieces(provider, request, call, bounds)) as pieces,
            ):
                async for piece in pieces:
                    if piece.text:
                        yield Delta(piece.text)
            call.finish()
            reply = _reply(request, call)
        yield reply

    async def embed(
        self,
        texts: Sequence[str],
        model: ModelRef,
        *,
        purpose: str = "embeddings",
        allow_cloud: bool = False,
        limits: Limits | None = None,
    ) -> Embeddings:
        """One vector for each of at most 512 texts, in order; raises as `stream` does."""
        bounds = limits or self._limits
        call = Call(model, purpose, "embeddings", self._clock)
        with self._recorded(call):
            provider = self._admitted(call, allow_cloud=allow_cloud)
            _check_texts(texts, bounds)
            async with self._slot(provider, call, bounds):
                found = await _embedded(provider, texts, call, bounds)
            call.answer = Answer(found.model, "stop", found.input_tokens, 0, None, None, None)
            call.finish()
        return found

    async def exchange(
        self,
        model: ModelRef,
        ask: Callable[[Provider], Awaitable[tuple[Given, Answer]]],
        *,
        purpose: str,
        allow_cloud: bool = False,
        limits: Limits | None = None,
    ) -> Given:
        """One call in the provider's own terms (with tools, say), admitted and recorded as any other.

        `ask` makes the call and returns what came and the facts about it; raises as `stream` does.
        """
        bounds = limits or self._limits
        call = Call(model, purpose, "chat", self._clock)
        with self._recorded(call):
            provider = self._admitted(call, allow_cloud=allow_cloud)
            async with self._slot(provider, call, bounds):
                given, call.answer = await _exchanged(provider, ask, call, bounds)
            call.finish()
        return given

    async def ready(self, model: ModelRef, *, allow_cloud: bool = False) -> Provider:
        """The model's provider once it can be called; raises as `stream` does, and sends nothing."""
        call = Call(model, "", "chat", self._clock)
        provider = self._admitted(call, allow_cloud=allow_cloud)
        await provider.prepare()
        return provider

    async def aclose(self) -> None:
        """Give up the connections and processes of every provider."""
        for provider in self._providers.values():
            await provider.aclose()

    def _provider(self, model: ModelRef) -> Provider:
        if model.provider not in self._providers:
            known = ", ".join(sorted(self._providers)) or "none"
            raise NotFound(
                f"No provider {model.provider!r} is configured.",
                where=f"model {model}",
                hint=f"Configured: {known}.",
            )
        return self._providers[model.provider]

    def _admitted(self, call: Call, *, allow_cloud: bool) -> Provider:
        """The provider, if the model may be asked at all; decided before any use of the network."""
        call.provider = provider = self._provider(call.model)
        if not allow_cloud and not self.is_local(call.model):
            raise Denied(
                f"The model {call.model} is in the cloud, and only local models may be asked here.",
                where="rule llm.local-only",
                hint="Choose a local model, or let the workspace's settings allow cloud models.",
            )
        return provider

    @contextmanager
    def _recorded(self, call: Call) -> Generator[None]:
        try:
            yield
        except Denied as error:
            call.end("denied", str(error))
            raise
        except QuarterdeckError as error:
            call.end("failed", str(error))
            raise
        finally:
            self._on_usage(call.usage())

    @asynccontextmanager
    async def _slot(self, provider: Provider, call: Call, bounds: Limits) -> AsyncIterator[None]:
        """Wait until the provider is free and ready; the call's own time begins then."""
        slot = self._slots[provider.name]
        try:
            async with asyncio.timeout(bounds.queue_s):
                await slot.acquire()
        except TimeoutError:
            raise _timed_out(call, f"It was not free within {bounds.queue_s:g} s.") from None
        try:
            async with asyncio.timeout(bounds.queue_s):
                await provider.prepare()
            call.begin()
            yield
        except TimeoutError:
            raise _timed_out(call, f"It was not ready within {bounds.queue_s:g} s.") from None
        finally:
            slot.release()


def _timed_out(call: Call, message: str) -> ModelFailed:
    return ModelFailed(message, kind="timeout", where=f"model {call.model}", retry=True)


def _may_retry(error: ModelFailed, call: Call, bounds: Limits) -> bool:
    return error.kind == "connection" and call.pieces == 0 and call.attempts <= bounds.retries


async def _pieces(
    provider: Provider, request: Request, call: Call, bounds: Limits
) -> AsyncGenerator[Piece]:
    """The pieces of one answer; a connection that gave nothing at all is tried again."""
    while True:
        call.attempts += 1
        try:
            async with aclosing(_attempt(provider, request, call, bounds)) as pieces:
                async for piece in pieces:
                    yield piece
        except ModelFailed as error:
            if not _may_retry(error, call, bounds):
                raise
        else:
            return
        await asyncio.sleep(bounds.retry_wait_s)


async def _attempt(
    provider: Provider, request: Request, call: Call, bounds: Limits
) -> AsyncGenerator[Piece]:
    async with aclosing(provider.stream(request)) as parts:
        while True:
            part = await _next(parts, call, bounds)
            if isinstance(part, Answer):
                call.answer = part
                return
            if not call.takes(part, tokens_max=request.max_tokens, size_max=bounds.output_bytes):
                return
            yield part


async def _next(
    parts: AsyncGenerator[Piece | Answer], call: Call, bounds: Limits
) -> Piece | Answer:
    elapsed_s = call.elapsed_s()
    first = call.pieces == 0 and bounds.first_chunk_s < bounds.total_s
    limit_s = bounds.first_chunk_s if first else bounds.total_s
    try:
        async with asyncio.timeout(max(0.0, limit_s - elapsed_s)):
            return await anext(parts)
    except TimeoutError:
        what = "say anything" if call.pieces == 0 else "finish"
        raise _timed_out(call, f"It did not {what} within {limit_s:g} s.") from None
    except StopAsyncIteration:
        raise ModelFailed(
            "Its stream ended without an answer.", kind="garbage", where=f"model {call.model}"
        ) from None


async def _embedded(
    provider: Provider, texts: Sequence[str], call: Call, bounds: Limits
) -> Embeddings:
    while True:
        call.attempts += 1
        try:
            async with asyncio.timeout(max(0.0, bounds.total_s - call.elapsed_s())):
                return await provider.embed(call.model.name, texts)
        except TimeoutError:
            raise _timed_out(call, f"It did not finish within {bounds.total_s:g} s.") from None
        except ModelFailed as error:
            if not _may_retry(error, call, bounds):
                raise
        await asyncio.sleep(bounds.retry_wait_s)


async def _exchanged(
    provider: Provider,
    ask: Callable[[Provider], Awaitable[tuple[Given, Answer]]],
    call: Call,
    bounds: Limits,
) -> tuple[Given, Answer]:
    while True:
        call.attempts += 1
        try:
            async with asyncio.timeout(max(0.0, bounds.total_s - call.elapsed_s())):
                return await ask(provider)
        except TimeoutError:
            raise _timed_out(call, f"It did not finish within {bounds.total_s:g} s.") from None
        except ModelFailed as error:
            if not _may_retry(error, call, bounds):
                raise
        await asyncio.sleep(bounds.retry_wait_s)


def _check_prompt(request: Request, bounds: Limits) -> None:
    size_bytes = sum(len(message.content.encode()) for message in request.messages)
    if size_bytes > bounds.prompt_bytes:
        raise TooLarge(
            f"The messages are {size_bytes} bytes; {bounds.prompt_bytes} is the limit.",
            where="messages",
        )


def _check_texts(texts: Sequence[str], bounds: Limits) -> None:
    if not 1 <= len(texts) <= TEXTS_MAX:
        raise InvalidInput(
            f"{len(texts)} texts were given.", where="texts", hint=f"Give 1 to {TEXTS_MAX}."
        )
    if not all(text.strip() for text in texts):
        raise InvalidInput("A text is empty.", where="texts", hint="Leave empty texts out.")
    size_bytes = sum(len(text.encode()) for text in texts)
    if size_bytes > bounds.prompt_bytes:
        raise TooLarge(
            f"The texts are {size_bytes} bytes; {bounds.prompt_bytes} is the limit.", where="texts"
        )


def _reply(request: Request, call: Call) -> Reply:
    text = "".join(call.text)
    parsed, problem = (None, None) if request.schema is None else _parsed(text, request.schema)
    usage = call.usage()
    return Reply(
        text=text,
        parsed=parsed,
        problem=problem,
        model=usage.response_model or call.model.name,
        provider=call.model.provider,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        duration_s=usage.duration_s,
        first_chunk_s=usage.first_chunk_s,
        compute_s=usage.compute_s,
        price=usage.price,
        currency=usage.currency,
        cost_basis=usage.cost_basis,
        finish_reason=usage.finish_reason or "stop",
        logprobs=call.answer.logprobs if call.answer else None,
        local=usage.local,
        demonstration=call.model.demonstration,
    )


def _parsed(text: str, schema: Json) -> tuple[Json | None, str | None]:
    try:
        value = orjson.loads(_unfenced(text))
    except orjson.JSONDecodeError as error:
        return None, f"answer: it is not JSON ({error})."
    problem = problem_with(value, schema)
    return (value, None) if problem is None else (None, problem)


def _unfenced(text: str) -> str:
    """The text without the Markdown fence that servers without grammars like to put around it."""
    lines = text.strip().split("\n")
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1].strip() == "```":
        return "\n".join(lines[1:-1])
    return text
