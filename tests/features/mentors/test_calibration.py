"""Confidence: what is known, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.mentors.calibration import (
    Outcomes,
    beta_cdf,
    beta_interval,
    bucket,
    confidence,
)

pytestmark = pytest.mark.req("ORC-4")


def test_below_fifty_outcomes_it_is_a_tally_and_says_so():
    found = confidence(2 / 3, Outcomes(upheld=49, total=49))
    assert found["value"] == pytest.approx(2 / 3)
    assert (found["basis"], found["calibrated"], found["n_outcomes"]) == ("agreement", False, 49)
    assert "Uncalibrated" in found["note"]
    assert found["interval_90"] is None


def test_from_fifty_outcomes_it_is_their_rate_with_an_interval():
    found = confidence(2 / 3, Outcomes(upheld=40, total=50))
    assert (found["basis"], found["calibrated"]) == ("outcomes", True)
    assert found["value"] == pytest.approx(40.5 / 51)
    low, high = found["interval_90"]
    assert (round(low, 2), round(high, 2)) == (0.70, 0.88)


def test_without_agreement_there_is_no_number():
    assert confidence(None, Outcomes())["value"] is None


@pytest.mark.parametrize(
    ("support", "name"),
    [
        (None, "none"),
        (1.0, "unanimous"),
        (0.51, "majority"),
        (0.5, "plurality"),
        (0.2, "plurality"),
    ],
)
def test_agreement_falls_into_a_bucket(support, name):
    assert bucket(support) == name


@pytest.mark.parametrize(
    ("upheld", "total", "low", "high"),
    [(8, 10, 0.55, 0.94), (40, 50, 0.70, 0.88), (160, 200, 0.75, 0.84)],
)
def test_the_interval_is_that_of_the_literature(upheld, total, low, high):
    found_low, _, found_high = beta_interval(upheld, total)
    assert found_low == pytest.approx(low, abs=0.01)
    assert found_high == pytest.approx(high, abs=0.01)


def test_the_distribution_function_has_its_known_values():
    assert beta_cdf(0.3, 1, 1) == pytest.approx(0.3)
    assert beta_cdf(0.5, 7, 7) == pytest.approx(0.5)
    assert beta_cdf(0.25, 2, 1) == pytest.approx(0.0625)


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_the_interval_always_holds_its_mean(upheld, failed):
    low, mean, high = beta_interval(upheld, upheld + failed)
    assert 0 <= low <= high <= 1
    if 0 < upheld and 0 < failed:
        assert low <= mean <= high
