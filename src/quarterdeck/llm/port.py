"""The port to language models: plain values, no third-party types, so that a library's break stays in its adapter."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from quarterdeck.core.errors import InvalidInput, StepFailed
from quarterdeck.core.events import Json

BUNDLED = "bundled"
CLOUD_KINDS = frozenset({"anthropic", "google", "openai"})
"""Providers that are a cloud service whatever the model."""
MESSAGES_MAX = 200
TOKENS_MAX = 131_072

_PROVIDER = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NAME = re.compile(r"[\w.:/@+-]{1,200}")
_FAMILIES = (
    ("smollm", "smollm"),
    ("deepseek", "deepseek"),
    ("qwen|qwq", "qwen"),
    ("llama", "llama"),
    ("mistral|mixtral|codestral|devstral|magistral|ministral", "mistral"),
    ("gemma", "gemma"),
    ("gemini", "gemini"),
    ("claude", "claude"),
    ("granite", "granite"),
    ("starcoder", "starcoder"),
    ("command-r|command-a|aya", "cohere"),
    ("phi[-0-9]", "phi"),
    ("gpt", "gpt"),
    ("glm", "glm"),
)


@dataclass(frozen=True, slots=True, order=True)
class ModelRef:
    """Which model, by whom: `provider/name`, for example `ollama/qwen2.5-coder:7b`."""

    provider: str
    name: str

    def __post_init__(self) -> None:
        if not _PROVIDER.fullmatch(self.provider) or not _NAME.fullmatch(self.name):
            raise InvalidInput(
                f"{f'{self.provider}/{self.name}'[:120]!r} does not name a model.",
                where="model",
                hint="Write PROVIDER/NAME, for example ollama/qwen2.5-coder:7b.",
            )

    def __str__(self) -> str:
        return f"{self.provider}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """The model that `text` names; everything after the first `/` is the model's name.

        Raises:
            InvalidInput: when there is no `/`, or a part is empty or holds odd characters.
        """
        provider, _, name = text.strip().partition("/")
        return cls(provider, name)

    @property
    def family(self) -> str:
        """The lineage of the weights (`qwen`, `llama`, …): models of one family err alike.

        The first family that the name mentions counts; an unknown name is its own leading word.
        """
        name = self.name.rsplit("/", maxsplit=1)[-1].lower()
        hits = ((re.search(pattern, name), family) for pattern, family in _FAMILIES)
        found = [(hit.start(), family) for hit, family in hits if hit]
        if found:
            return min(found)[1]
        leading = re.match(r"[a-z]+", name)
        return leading.group() if leading else name

    @property
    def local(self) -> bool:
        """Whether the name alone says that the model runs on a machine of ours.

        Ollama forwards names that end in `-cloud` or `:cloud` to its cloud. The gateway decides with the
        address of the provider as well: ask `Gateway.is_local`.
        """
        return self.provider not in CLOUD_KINDS and not self.name.endswith(("-cloud", ":cloud"))

    @property
    def demonstration(self) -> bool:
        """Whether this is the bundled model, which shows the works but cannot advise."""
        return self.provider == BUNDLED


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a model is asked.

    With `schema` (a JSON schema of an object, bounded by the caller) the answer is decoded under
    that grammar. The model sees only the grammar, never the schema: say in a message what the
    fields mean. `temperature` is 0..2, `seed` makes samples repeatable where the provider can.

    Raises:
        InvalidInput: when there is no message, or a number is out of its range.
    """

    model: ModelRef
    messages: tuple[Message, ...]
    schema: Mapping[str, Json] | None = None
    max_tokens: int = 1024
    temperature: float | None = None
    seed: int | None = None
    logprobs: bool = False

    def __post_init__(self) -> None:
        _within(1, len(self.messages), MESSAGES_MAX, where="messages", unit="messages")
        _within(1, self.max_tokens, TOKENS_MAX, where="max_tokens", unit="tokens")
        if self.temperature is not None:
            _within(0, self.temperature, 2, where="temperature", unit="")
        if self.schema is not None and self.schema.get("type") != "object":
            raise InvalidInput(
                "The schema does not describe an object.",
                where="schema",
                hint='Give it "type": "object" and wrap other values in a field.',
            )


def _within(low: float, value: float, high: float, *, where: str, unit: str) -> None:
    if not low <= value <= high:
        raise InvalidInput(f"{value} is outside {low} to {high} {unit}".rstrip() + ".", where=where)


CostBasis = Literal["priced", "local", "unknown"]
"""`priced`: from the price table; `local`: our own machine, by time if it has a rate; `unknown`: no price."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its natural-log probability before any grammar, and its rivals with theirs."""

    token: str
    logprob: float
    rivals: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text as it arrives."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and what it took; None means unknown.

    `parsed` holds the JSON object when a schema was asked for and the text fits it; else `problem`
    says where it does not. `model` is the name the server answered under. `input_tokens` includes
    `cached_tokens`; `output_tokens` includes reasoning. `finish_reason` is `stop`, `length`,
    `content_filter`, `tool_call`, `error` or `cut` (we stopped a stream that went on too long).
    `compute_s` is the time the server says it computed; durations are in seconds, `price` in
    `currency`.
    """

    text: str
    parsed: Json | None
    model: str
    provider: str
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    duration_s: float
    first_chunk_s: float | None
    compute_s: float | None
    price: Decimal | None
    currency: str
    cost_basis: CostBasis
    finish_reason: str
    logprobs: tuple[TokenLogprob, ...] | None = None
    problem: str | None = None
    local: bool = True
    demonstration: bool = False


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector per text, in order, all of `dimensions` numbers."""

    vectors: tuple[tuple[float, ...], ...]
    model: str
    dimensions: int
    input_tokens: int | None


Outcome = Literal["ok", "cut", "failed", "cancelled", "denied"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call took, whether or not it went well; None means unknown.

    `queued_s` is the time spent waiting for the provider to be free, before `duration_s` began.
    """

    at: str
    purpose: str
    operation: Literal["chat", "embeddings"]
    model: ModelRef
    response_model: str | None
    local: bool
    outcome: Outcome
    error: str | None
    attempts: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    queued_s: float
    duration_s: float
    first_chunk_s: float | None
    compute_s: float | None
    price: Decimal | None
    currency: str
    cost_basis: CostBasis
    finish_reason: str | None

    def as_json(self) -> dict[str, Json]:
        """The record as the data of a `model.called` event; prices are decimal text."""
        return {
            "at": self.at,
            "purpose": self.purpose,
            "operation": self.operation,
            "provider": self.model.provider,
            "model": str(self.model),
            "response_model": self.response_model,
            "local": self.local,
            "demonstration": self.model.demonstration,
            "outcome": self.outcome,
            "error": self.error,
            "attempts": self.attempts,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "queued_s": round(self.queued_s, 6),
            "duration_s": round(self.duration_s, 6),
            "first_chunk_s": None if self.first_chunk_s is None else round(self.first_chunk_s, 6),
            "compute_s": self.compute_s,
            "price": None if self.price is None else str(self.price),
            "currency": self.currency,
            "cost_basis": self.cost_basis,
            "finish_reason": self.finish_reason,
        }


FailureKind = Literal[
    "connection",  # nothing was received: may be tried again
    "dropped",  # the connection ended in mid-answer
    "timeout",
    "http",  # an error status
    "garbage",  # what came is not an answer
    "too_large",
    "missing",  # an extra, a file or a provider is not installed
]


class ModelFailed(StepFailed):
    """A model gave no answer; `kind` says how, `retry` whether asking again may help."""

    title = "Model failed"

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind,
        where: str | None = None,
        hint: str | None = None,
        retry: bool = False,
    ) -> None:
        super().__init__(message, where=where, hint=hint, retry=retry)
        self.kind: FailureKind = kind


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much a call may take: seconds and bytes.

    `first_chunk_s` covers loading the model. A connection that fails before anything was received
    is tried `retries` times more.
    """

    queue_s: float = 600.0
    first_chunk_s: float = 120.0
    total_s: float = 600.0
    prompt_bytes: int = 2 * 1024 * 1024
    output_bytes: int = 256 * 1024
    retries: int = 1
    retry_wait_s: float = 0.2


@dataclass(frozen=True, slots=True)
class Piece:
    """What a provider streams: some text, or "" while the model is only thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """How a provider ends a stream: the facts it reported, None where it did not."""

    model: str
    finish_reason: str
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    compute_s: float | None
    logprobs: tuple[TokenLogprob, ...] | None


class Provider(Protocol):
    """One place where models answer.

    `local` says whether its address is ours. `concurrency` calls run at once, more wait.
    `host_rate` is the price of an hour of its machine, for local models. `price_id` names it in the
    price table.
    """

    @property
    def name(self) -> str: ...
    @property
    def local(self) -> bool: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def host_rate(self) -> Decimal | None: ...
    @property
    def price_id(self) -> str | None: ...

    async def prepare(self) -> None:
        """Get ready for calls: load libraries, start a server; quick when already done."""
        ...

    def stream(self, request: Request) -> AsyncGenerator[Piece | Answer]:
        """Pieces, then one `Answer`; raises `ModelFailed`. Nothing is retried here."""
        ...

    async def embed(self, name: str, texts: Sequence[str]) -> Embeddings:
        """One vector per text; raises `ModelFailed`."""
        ...

    async def aclose(self) -> None:
        """Give up connections and processes."""
        ...
