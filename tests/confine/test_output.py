"""Capped output keeps head and tail exactly, and memory bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.confine.output import CappedOutput


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(2, 100))
def test_head_and_tail_are_kept(pieces, limit):
    output = CappedOutput(limit)
    for piece in pieces:
        output.add(piece)
    whole = b"".join(pieces)
    assert output.seen_bytes == len(whole)
    assert output.dropped_bytes == max(0, len(whole) - limit)
    if len(whole) <= limit:
        assert output.text() == whole
        return
    head, tail = limit // 2, limit - limit // 2
    note = b"\n[... %d bytes left out ...]\n" % (len(whole) - limit)
    assert output.text() == whole[:head] + note + whole[-tail:]
