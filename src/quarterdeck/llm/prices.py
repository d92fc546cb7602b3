"""What a call cost: a price table that ships with the product for the cloud, compute time for our own machines."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from quarterdeck.llm.port import CostBasis

CURRENCY = "USD"
_HOUR_S = Decimal(3600)
_SMALLEST = Decimal("1e-12")


@dataclass(frozen=True, slots=True)
class Price:
    """An amount in US dollars and where it comes from; None means unknown, never free."""

    amount: Decimal | None
    basis: CostBasis


UNKNOWN = Price(None, "unknown")


def local_price(seconds: float | None, host_rate: Decimal | None) -> Price:
    """The price of `seconds` of a machine that costs `host_rate` an hour (TEL-4)."""
    if seconds is None or host_rate is None:
        return Price(None, "local")
    return Price((Decimal(repr(seconds)) * host_rate / _HOUR_S).quantize(_SMALLEST), "local")


def listed_price(
    model: str,
    *,
    price_id: str | None,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_tokens: int | None,
) -> Price:
    """The price of a call by the table of the installed `genai-prices` release; nothing is downloaded.

    Unknown tokens, providers or models give an unknown price: a guess would look like a fact.
    """
    if price_id is None or input_tokens is None or output_tokens is None:
        return UNKNOWN
    # Half a second of CPU time to import: paid at the first priced call, not by every start.
    from genai_prices import Usage, calc_price  # noqa: PLC0415 - slow to import

    usage = Usage(
        input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cached_tokens
    )
    try:
        found = calc_price(usage, model, provider_id=price_id)
    except LookupError:
        return UNKNOWN
    return Price(found.total_price, "priced")
