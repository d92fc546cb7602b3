"""What sites ask of robots, by RFC 9309."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.features.objectives.robots import matches, parse_robots

pytestmark = pytest.mark.req("RUN-1")

TEXT = """\ufeff# comment
User-agent: other
Disallow: /
User-Agent: *
Disallow: /private  # not for robots
Allow: /private/open
Disallow: /*.pdf$
Disallow:
Sitemap: https://a.test/map.xml
nonsense
"""


@pytest.mark.parametrize(
    ("path", "permitted"),
    [
        ("/", True),
        ("/private", False),
        ("/private/x", False),
        ("/private/open/x", True),
        ("/x.pdf", False),
        ("/x.pdf?y", True),
        ("/Private", True),
    ],
)
def test_the_longest_matching_rule_decides(path, permitted):
    assert parse_robots(TEXT).permits(path) is permitted


def test_sitemaps_are_found_wherever_they_stand():
    assert parse_robots(TEXT).sitemaps == ("https://a.test/map.xml",)


def test_our_own_group_takes_the_place_of_everybodys():
    text = "user-agent: *\ndisallow: /\n\nuser-agent: x\nuser-agent: Quarterdeck\ndisallow: /no\n"
    assert parse_robots(text).permits("/yes")
    assert not parse_robots(text).permits("/no")


def test_allow_wins_between_rules_of_one_length():
    assert parse_robots("user-agent: *\ndisallow: /a\nallow: /a\n").permits("/a")


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("/a*b*c", "/a-b-c-d", True),
        ("/a*b*c", "/acb", False),
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("/*a$", "/aba", True),
        ("/a*a$", "/a", False),
        ("*", "/x", True),
        ("/*$", "/x", True),
    ],
)
def test_wildcards(pattern, path, found):
    assert matches(pattern, path) is found


@given(st.text(max_size=300), st.text(max_size=50))
def test_whatever_a_file_says_it_has_an_answer(text, path):
    assert parse_robots(text).permits(f"/{path}") in {True, False}
