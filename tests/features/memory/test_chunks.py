"""Cutting text into bounded pieces without losing any of it."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.memory.chunks import TEXT_BYTES_MAX, chunks, readable, tokens_in

pytestmark = pytest.mark.req("ORC-12")

TEXTS = st.text(max_size=3_000) | st.lists(st.text("ab é\n字.", max_size=400)).map("\n".join)


@given(TEXTS, st.integers(4, 64))
def test_joined_the_pieces_are_the_text_again(text, limit):
    assert "".join(chunks(text, tokens_max=limit)) == text


@given(TEXTS, st.integers(4, 64))
def test_no_piece_is_over_the_limit(text, limit):
    assert all(tokens_in(piece) <= limit for piece in chunks(text, tokens_max=limit))


def test_pieces_end_at_line_ends_where_they_can():
    lines = [f"line number {n} of the text\n" for n in range(200)]
    assert all(piece.endswith("\n") for piece in chunks("".join(lines)))


def test_json_becomes_lines_without_what_repeats_other_documents():
    content = orjson.dumps(
        {"model": "qwen", "prompt": {"user": "SECRET"}, "samples": [{"text": "Use <="}], "n": 3}
    )
    assert readable(content, "application/json") == "model: qwen\ntext: Use <=\nn: 3"


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"PK\x03\x04", "application/zip"),
        (b"\xff\xfe", "text/plain"),
        (b"x" * (TEXT_BYTES_MAX + 1), "text/plain"),
    ],
)
def test_what_is_not_text_is_not_read(content, media_type):
    assert readable(content, media_type) is None


def test_broken_json_is_read_as_text():
    assert readable(b"{half", "application/json") == "{half"


@given(st.binary(max_size=200), st.sampled_from(["application/json", "text/plain"]))
def test_any_bytes_are_read_or_left(content, media_type):
    text = readable(content, media_type)
    assert text is None or "\x00" not in text
