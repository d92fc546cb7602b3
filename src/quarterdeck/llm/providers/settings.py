"""What an administrator says about a provider, and the provider made from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from quarterdeck.core.errors import InvalidInput
from quarterdeck.llm.locality import host_of, is_own_address
from quarterdeck.llm.port import BUNDLED, CLOUD_KINDS

Kind = Literal["ollama", "openai_compatible", "openai", "google", "anthropic", "bundled"]

OLLAMA_URL = "http://127.0.0.1:11434"
CONCURRENCY_MAX = 64


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider: `name` is what model references begin with.

    `base_url` is the server's address (Ollama's without `/v1`). `own` declares a server with a
    public address as ours. `host_rate` is the price of an hour of its machine in US dollars.
    `models_dir` is where the bundled model may have been pulled to.

    Raises:
        InvalidInput: when a value is missing or out of range, or a name is taken for another kind.
    """

    name: str
    kind: Kind
    base_url: str | None = None
    api_key: str | None = None
    own: bool = False
    concurrency: int = 2
    host_rate: Decimal | None = None
    models_dir: Path | None = None

    def __post_init__(self) -> None:
        where = f"provider {self.name}"
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", self.name):
            raise InvalidInput(f"{self.name[:80]!r} is not a provider's name.", where="provider")
        if self.name in {BUNDLED, *CLOUD_KINDS} and self.name != self.kind:
            raise InvalidInput(
                f"The name is kept for the kind {self.name!r}.", where=where, hint="Choose another."
            )
        if self.kind == "openai_compatible" and not self.base_url:
            raise InvalidInput("It has no address.", where=where, hint="Set base_url.")
        if self.base_url:
            host_of(self.base_url)
        if not 1 <= self.concurrency <= CONCURRENCY_MAX:
            raise InvalidInput(
                f"{self.concurrency} calls at once is not possible.",
                where=where,
                hint=f"Give 1 to {CONCURRENCY_MAX}.",
            )

    def __repr__(self) -> str:
        return f"ProviderSettings({self.name!r}, {self.kind!r}, {self.base_url!r})"

    @property
    def local(self) -> bool:
        """Whether the server is ours, by its address or because the administrator says so."""
        if self.kind in CLOUD_KINDS:
            return False
        if self.kind == "bundled" or self.own:
            return True
        return is_own_address(self.address)

    @property
    def address(self) -> str:
        """The server's address without a trailing slash; "" where the kind has its own."""
        default = OLLAMA_URL if self.kind == "ollama" else ""
        return (self.base_url or default).rstrip("/")
