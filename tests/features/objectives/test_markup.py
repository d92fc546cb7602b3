"""Reading pages: what they say, what they ask of robots, and no page that keeps us busy."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.objectives.markup import (
    LINKS_MAX,
    Link,
    read_page,
    read_plain,
    read_sitemap,
)

pytestmark = pytest.mark.req("RUN-1")


def test_title_text_and_links_are_read():
    found = read_page(
        "<!doctype html><html><head><title>Fish &amp; chips</title>"
        "<style>p { color: red }</style><script>var a = '<p>no</p>';</script></head>"
        "<body><!-- hidden <p>no</p> --><h1>Menu</h1><p>Fresh <b>cod</b>,\n 12&nbsp;€.</p>"
        "<a HREF='/order?a=1&amp;b=2'>Order <i>here</i></a><br>"
        "<a href=plain>Plain</a><td>1</td><td>2 < 3</td></body>"
    )
    assert found.title == "Fish & chips"
    assert found.blocks[:2] == ("Menu", "Fresh cod, 12 €.")
    assert found.blocks[-2:] == ("1", "2 < 3")
    assert found.links == (Link("/order?a=1&b=2", "Order here"), Link("plain", "Plain"))
    assert "no" not in " ".join(found.blocks)


def test_what_a_page_asks_of_robots_and_its_base():
    found = read_page('<base href="/x/"><meta name=Robots content="NoIndex, nofollow">Text')
    assert (found.base, found.index, found.follow) == ("/x/", False, False)
    assert read_page("<meta name=robots content=none>").index is False
    assert read_page("<meta name=viewport content=none>").index is True


def test_links_have_a_limit():
    assert len(read_page("<a href=x>y</a>" * 2 * LINKS_MAX).links) == LINKS_MAX


def test_a_plain_text_has_paragraphs():
    assert read_plain("one\ntwo\r\n\r\n  three  \n\n\n").blocks == ("one two", "three")


def test_a_sitemap_lists_pages_and_further_sitemaps():
    pages, more = read_sitemap(
        "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'aaaa'>]><urlset>"
        "<url><loc> http://a.test/1?x=1&amp;y=2 </loc><lastmod>2026</lastmod></url>"
        "<sitemap><loc>http://a.test/more.xml</loc></sitemap><url><loc>&a;</loc></url></urlset>"
    )
    assert pages == ["http://a.test/1?x=1&y=2", "&a;"]
    assert more == ["http://a.test/more.xml"]


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<a ", "<!", "<", "</", "<![", "&", "<a x='", '<a x="', "<script", "<title>", "<a/"]
    + ["&#9", "&#x", "<a \"'", "<a x =", "<p>", "<a\x00", "<svg><script>"],
)
def test_a_page_made_to_keep_a_parser_busy_is_read_in_moments(piece):
    text = piece * (200_000 // len(piece))
    begun = time.process_time()
    read_page(text)
    read_page(f"{text}>")
    assert time.process_time() - begun < 2.0


def test_a_reference_of_a_million_digits_is_left_as_it_is():
    assert read_page(f"<p>&#{'9' * 100_000};</p>").blocks


@given(st.text(alphabet="<>/!-?&;#='\" abctilehrf\n", max_size=200))
def test_whatever_it_is_it_is_read(text):
    found = read_page(text)
    assert all(block == block.strip() and block for block in found.blocks)
    read_sitemap(text)
