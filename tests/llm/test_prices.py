"""What calls cost by the table, and what is unknown stays unknown."""

from __future__ import annotations

from decimal import Decimal

import pytest

from quarterdeck.llm.prices import UNKNOWN, Price, listed_price, local_price

pytestmark = pytest.mark.req("TEL-4")
MILLION = 1_000_000


def _price(model: str, price_id: str | None, **tokens):
    counts = {"input_tokens": MILLION, "output_tokens": 0, "cached_tokens": None} | tokens
    return listed_price(model, price_id=price_id, **counts)


def test_a_listed_model_has_its_price():
    price = _price("claude-3-5-haiku-latest", "anthropic")
    assert price == Price(Decimal("0.8"), "priced")


def test_cached_tokens_are_cheaper_and_not_counted_twice():
    plain = _price("gpt-4o", "openai")
    cached = _price("gpt-4o", "openai", cached_tokens=MILLION)
    assert plain.amount is not None
    assert cached.amount == plain.amount / 2


@pytest.mark.parametrize(
    ("model", "price_id", "tokens"),
    [
        ("no-such-model", "openai", {}),
        ("gpt-4o", "no-such-provider", {}),
        ("gpt-4o", None, {}),
        ("gpt-4o", "openai", {"output_tokens": None}),
        ("gpt-4o", "openai", {"input_tokens": None}),
    ],
)
def test_what_is_not_known_has_no_price(model, price_id, tokens):
    assert _price(model, price_id, **tokens) == UNKNOWN


def test_an_hour_of_our_machine_costs_its_rate():
    assert local_price(3600.0, Decimal("1.25")) == Price(Decimal("1.250000000000"), "local")
    assert local_price(0.0, Decimal(1)) == Price(Decimal(0), "local")


@pytest.mark.parametrize(("seconds", "rate"), [(None, Decimal(1)), (1.0, None)])
def test_our_machine_without_a_rate_has_no_price(seconds, rate):
    assert local_price(seconds, rate) == Price(None, "local")
