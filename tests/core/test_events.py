"""Events are stored as exact bytes and hashed as RFC 6962 says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck.core.events import Event, EventType, event_from, leaf_hash

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(EventType)),
    texts,
    st.none() | texts,
    st.dictionaries(texts, values, max_size=4),
)
def test_an_event_comes_back_from_its_bytes(type, actor, step, data):
    event = Event(type, "2026-01-01T00:00:00.000Z", "default", actor, "m1", step, data)
    again = event_from(event.body())
    assert again == event
    assert again.type is type
    assert again.body() == event.body()


def test_leaves_are_hashed_as_certificate_transparency_does():
    """The leaves of the reference tree of the Certificate Transparency project (RFC 6962 §2.1)."""
    empty = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    zero = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
    assert leaf_hash(b"").hex() == empty
    assert leaf_hash(b"\x00").hex() == zero
