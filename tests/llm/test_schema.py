"""The checker of answers against their schema."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quarterdeck.core.errors import InvalidInput
from quarterdeck.llm.schema import problem_with

SCHEMA = {
    "type": "object",
    "properties": {
        "risk": {"enum": ["low", "high"]},
        "why": {"type": "string", "minLength": 2, "maxLength": 8, "pattern": "^[a-z ]+$"},
        "files": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
        "score": {"type": "integer", "minimum": 0, "maximum": 10},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["risk"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"risk": "low"}, None),
        ({"risk": "low", "why": "it is so", "files": ["a"], "score": 3, "note": None}, None),
        ([], "answer: it is array, not object."),
        ({}, "answer: the field 'risk' is missing."),
        ({"risk": "mid"}, "answer.risk: 'mid' is not one of 'low', 'high'."),
        ({"risk": "low", "x": 1}, "answer: the field 'x' is not asked for."),
        ({"risk": "low", "why": "X!"}, "answer.why: 'X!' does not match '^[a-z ]+$'."),
        ({"risk": "low", "files": []}, "answer.files: the number of items is 0, less than 1."),
        ({"risk": "low", "files": ["a", 2]}, "answer.files[1]: it is integer, not string."),
        ({"risk": "low", "score": True}, "answer.score: it is boolean, not integer."),
        ({"risk": "low", "score": 11}, "answer.score: it is 11, more than 10."),
        ({"risk": "low", "note": 1}, "answer.note: it is integer, not string."),
    ],
)
@pytest.mark.req("ORC-4")
def test_a_misfit_is_named_with_its_place(value, problem):
    assert problem_with(value, SCHEMA) == problem


def test_a_keyword_that_is_not_checked_is_refused():
    with pytest.raises(InvalidInput, match="uniqueItems"):
        problem_with([], {"type": "array", "uniqueItems": True})


def test_a_value_that_nests_too_deep_is_a_misfit():
    schema = {
        "$ref": "#/$defs/n",
        "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
    }
    value: list = []
    for _ in range(40):
        value = [value]
    assert "nests deeper" in str(problem_with(value, schema))


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    size: int = Field(ge=0, le=9)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(max_length=3)
    inner: Inner | None
    tags: list[str] = Field(max_length=2)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 12) | st.text("ab", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "inner", "tags", "size"]), inner, max_size=4)
    ),
    max_leaves=6,
)
near_misses = st.fixed_dictionaries(
    {
        "name": st.text("ab", max_size=4) | json_values,
        "inner": st.none() | st.fixed_dictionaries({"size": st.integers(-1, 11)}) | json_values,
        "tags": st.lists(st.text("ab", max_size=2), max_size=3) | json_values,
    }
)


@given(near_misses | json_values)
def test_it_agrees_with_pydantic(value):
    try:
        Outer.model_validate(value)
        fits = True
    except ValidationError:
        fits = False
    assert (problem_with(value, Outer.model_json_schema()) is None) == fits
