"""Identifiers are safe as file names, branch names and parts of an address."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.ids import check_id, mission_id_at
from quarterdeck.core.plan import StepSpec

BAD = ["", "A", "-a", "_a", "a/b", "../a", "a b", "a.b", "é", "a\n", "a" * 65, "a\x00", "١"]


@pytest.mark.parametrize("value", BAD)
def test_what_is_no_id_is_refused_by_the_check_and_by_the_models_alike(value):
    with pytest.raises(InvalidInput, match="not a valid id"):
        check_id(value, where="mission_id")
    with pytest.raises(ValidationError):
        StepSpec(id=value, kind="work")


@given(st.text(max_size=70))
def test_the_check_and_the_models_agree(value):
    try:
        check_id(value, where="id")
        fits = True
    except InvalidInput:
        fits = False
    try:
        StepSpec(id=value, kind="work")
        taken = True
    except ValidationError:
        taken = False
    assert fits == taken


@pytest.mark.req("ORC-1")
def test_a_mission_is_named_after_its_second_in_utc():
    moment = datetime(2026, 11, 21, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert mission_id_at(moment) == "mission_20261120_230203"
    assert mission_id_at(moment, 2) == "mission_20261120_230203_2"
