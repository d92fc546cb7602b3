"""Outside data becomes values, or an error that names the field."""

from __future__ import annotations

import pytest

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.core.mission import Mission
from quarterdeck.core.validated import check_json, validated

FINE = {
    "id": "m1",
    "workspace": "default",
    "brief": "x",
    "created_by": "user:owner",
    "created_at": "2026-01-01T00:00:00.000Z",
}


def test_what_does_not_fit_is_named_with_its_field():
    with pytest.raises(InvalidInput) as caught:
        validated(Mission, {**FINE, "severity": "worst", "surprise": 1})
    assert "severity" in str(caught.value)
    assert "surprise" in str(caught.value)
    assert caught.value.where == "severity"


def test_many_problems_are_told_in_part():
    with pytest.raises(InvalidInput, match="and 2 more"):
        validated(Mission, {})


@pytest.mark.parametrize("brief", ["", "   \n", "a\x00b"])
def test_a_brief_that_says_nothing_is_refused(brief):
    with pytest.raises(InvalidInput, match="brief"):
        validated(Mission, {**FINE, "brief": brief})


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [{"a": float("inf")}, {"a": [float("nan")]}])
def test_numbers_that_json_does_not_have_are_refused(value):
    with pytest.raises(InvalidInput, match="not finite"):
        check_json(value, where="x", bytes_max=100, depth_max=9, size_bytes=9)


def test_depth_and_size_are_bounded():
    check_json(nested(8), where="x", bytes_max=100, depth_max=9, size_bytes=100)
    with pytest.raises(InvalidInput, match="deeper than 9"):
        check_json(nested(9), where="x", bytes_max=100, depth_max=9, size_bytes=9)
    with pytest.raises(InvalidInput, match="deeper"):
        check_json(nested(100_000), where="x", bytes_max=100, depth_max=9, size_bytes=9)
    with pytest.raises(TooLarge, match="101 bytes"):
        check_json({}, where="x", bytes_max=100, depth_max=9, size_bytes=101)
