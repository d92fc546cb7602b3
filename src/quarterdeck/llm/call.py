"""One call to a model while it lasts: what was received, how long it took, how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from quarterdeck.core.clock import Clock, iso
from quarterdeck.llm.port import Answer, ModelRef, Outcome, Piece, Provider, Usage
from quarterdeck.llm.prices import CURRENCY, UNKNOWN, Price, listed_price, local_price

# A piece is a token or more, but a thinking tag may split one in two.
_PIECES_PER_TOKEN = 2
_PIECES_SLACK = 32


@dataclass(slots=True)
class Call:
    """The state of one call; it counts as cancelled until it has ended otherwise."""

    model: ModelRef
    purpose: str
    operation: Literal["chat", "embeddings"]
    clock: Clock
    provider: Provider | None = None
    outcome: Outcome = "cancelled"
    error: str | None = None
    attempts: int = 0
    text: list[str] = field(default_factory=list)
    size_bytes: int = 0
    pieces: int = 0
    cut: bool = False
    first_chunk_s: float | None = None
    answer: Answer | None = None
    _entered_s: float = 0.0
    _started_s: float | None = None
    _ended_s: float | None = None

    def __post_init__(self) -> None:
        self._entered_s = self.clock.monotonic_s()

    def begin(self) -> None:
        """The provider is free and ready: the call's own time starts."""
        self._started_s = self.clock.monotonic_s()

    def elapsed_s(self) -> float:
        """Seconds since `begin`, up to the end if it has ended; 0 before."""
        if self._started_s is None:
            return 0.0
        end_s = self.clock.monotonic_s() if self._ended_s is None else self._ended_s
        return end_s - self._started_s

    def takes(self, piece: Piece, *, tokens_max: int, size_max: int) -> bool:
        """Note a piece; False when it is one too many and the call is cut."""
        if self.first_chunk_s is None:
            self.first_chunk_s = self.elapsed_s()
        self.pieces += 1
        size_bytes = self.size_bytes + len(piece.text.encode(errors="replace"))
        pieces_max = _PIECES_PER_TOKEN * tokens_max + _PIECES_SLACK
        if self.pieces > pieces_max or size_bytes > size_max:
            self.cut = True
            return False
        self.size_bytes = size_bytes
        self.text.append(piece.text)
        return True

    def finish(self) -> None:
        """The call has given its answer, or as much of it as we wanted."""
        self.end("cut" if self.cut else "ok", None)

    def end(self, outcome: Outcome, error: str | None) -> None:
        """The call has ended; `error` is the sentence that says why, if it went wrong."""
        self._ended_s = self.clock.monotonic_s()
        self.outcome = outcome
        self.error = error

    def usage(self) -> Usage:
        """What the call took, as far as it is known."""
        answer = self.answer
        price = self._price()
        started_s = self.clock.monotonic_s() if self._started_s is None else self._started_s
        return Usage(
            at=iso(self.clock.now()),
            purpose=self.purpose,
            operation=self.operation,
            model=self.model,
            response_model=answer.model if answer else None,
            local=self._local(),
            outcome=self.outcome,
            error=self.error,
            attempts=self.attempts,
            input_tokens=answer.input_tokens if answer else None,
            output_tokens=answer.output_tokens if answer else None,
            cached_tokens=answer.cached_tokens if answer else None,
            queued_s=started_s - self._entered_s,
            duration_s=self.elapsed_s(),
            first_chunk_s=self.first_chunk_s,
            compute_s=answer.compute_s if answer else None,
            price=price.amount,
            currency=CURRENCY,
            cost_basis=price.basis,
            finish_reason="cut" if self.cut else answer.finish_reason if answer else None,
        )

    def _local(self) -> bool:
        return self.model.local and (self.provider is None or self.provider.local)

    def _price(self) -> Price:
        if self.provider is None or self._started_s is None:
            return UNKNOWN
        answer = self.answer
        if self._local():
            # A server that does not report its compute time kept the machine for the whole call.
            compute_s = answer.compute_s if answer else None
            seconds = self.elapsed_s() if compute_s is None else compute_s
            return local_price(seconds, self.provider.host_rate)
        if answer is None:
            return UNKNOWN
        return listed_price(
            answer.model,
            price_id=self.provider.price_id,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            cached_tokens=answer.cached_tokens,
        )
