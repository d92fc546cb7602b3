"""URLs have one reading, hosts one spelling, and the allowed domains one border."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quarterdeck.core.errors import InvalidInput
from quarterdeck.features.objectives.scope import (
    DOMAINS_MAX,
    Target,
    host_name,
    is_address,
    parse_scope,
    parse_url,
)

pytestmark = pytest.mark.req("RUN-1", "DOC-4")

LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(
    lambda label: not label.startswith("xn--")
)
NAME = st.lists(LABEL, min_size=2, max_size=4).map(".".join)


def scope(*domains: str):
    return parse_scope({"allowed_domains": list(domains)})


def admits(domain: str, url: str) -> bool:
    return scope(domain).domain_of(parse_url(url)) is not None


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://a.test", "http://a.test/"),
        ("HTTPS://A.Test.:443/x", "https://a.test/x"),
        ("http://a.test:0080/", "http://a.test/"),
        ("http://a.test/a/./b/../c?q=1#f", "http://a.test/a/c?q=1"),
        ("http://a.test/%2e%2E/%2e/x", "http://a.test/x"),
        ("http://a.test/ü?ö", "http://a.test/%C3%BC?%C3%B6"),
        ("http://bücher.test/", "http://xn--bcher-kva.test/"),
        ("http://ＢÜCHER。test/", "http://xn--bcher-kva.test/"),
        ("http://fa\u00adst.test/", "http://fast.test/"),
        ("http://r3---sn.a.test/", "http://r3---sn.a.test/"),
        ("http://[0:0::1]:81/", "http://[::1]:81/"),
        ("http://①②⑦.⓪.⓪.①/", "http://127.0.0.1/"),
    ],
)
def test_a_url_has_one_spelling(url, found):
    assert parse_url(url).url == found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.test",
        "//a.test/",
        "ftp://a.test/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http:///x",
        "http://user@a.test/",
        "http://a.test:80@evil.test/",
        "http://evil.test\\@a.test/",
        "http://a.test\\.evil.test/",
        "http://a.test\t.evil.test/",
        "http://a.test\n/",
        "http://a.test /",
        "http://a.test\x00.evil.test/",
        "http://%61.test/",
        "http://a..test/",
        "http://.test/",
        "http://a.test../",
        "http://-a.test/",
        "http://a_b.test/",
        "http://a.test:/",
        "http://a.test:http/",
        "http://a.test:65536/",
        "http://a.test:８０/",
        "http://[::1/",
        "http://[a.test]/",
        "http://[::1%25eth0]/",
        "http://[::1]x/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://1.2.3/",
        "http://1.2.3.4.5/",
        "http://a.0x/",
        "http://xn--a.test/",
        f"http://{'a' * 64}.test/",
        f"http://{'a.' * 200}test/",
        f"http://a.test/{'x' * 2048}",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(url):
    with pytest.raises(InvalidInput):
        parse_url(url)


def test_links_are_read_against_the_page_they_stand_on():
    here = parse_url("https://a.test/docs/page?x=1")
    assert parse_url("other", base=here).url == "https://a.test/docs/other"
    assert parse_url("//b.test/x", base=here).url == "https://b.test/x"
    assert parse_url("?y=2", base=here).url == "https://a.test/docs/page?y=2"
    assert parse_url("../../../x", base=here).url == "https://a.test/x"


@pytest.mark.parametrize(
    ("domain", "url", "inside"),
    [
        ("example.org", "https://example.org/x", True),
        ("example.org", "http://a.b.example.org/", True),
        ("Example.ORG.", "http://EXAMPLE.org./", True),
        ("example.org", "http://badexample.org/", False),
        ("example.org", "http://example.org.evil.test/", False),
        ("example.org", "http://org/", False),
        ("example.org", "http://example.org:8080/", False),
        ("example.org", "https://example.org:80/", False),
        ("example.org:8080", "http://www.example.org:8080/", True),
        ("example.org:8080", "http://example.org/", False),
        ("bücher.test", "http://xn--bcher-kva.test/", True),
        ("203.0.113.7", "http://203.0.113.7/", True),
        ("203.0.113.7", "http://1.203.0.113/", False),
        ("[2001:db8::1]:81", "http://[2001:db8:0::1]:81/", True),
    ],
)
def test_the_border_of_a_domain(domain, url, inside):
    assert admits(domain, url) is inside


@given(NAME, LABEL)
def test_a_domain_covers_the_names_below_it(name, label):
    assert admits(name, f"https://{label}.{name}/")


@given(NAME, NAME)
def test_a_domain_covers_nothing_else(name, other):
    assume(other != name and not other.endswith(f".{name}"))
    assert not admits(name, f"https://{other}/")
    assert not admits(name, f"https://x{name}/")
    assert not admits(name, f"https://{name}.{other}.test/")


@given(st.text(max_size=40))
def test_a_host_is_refused_or_keeps_its_spelling(text):
    try:
        name = host_name(text)
    except InvalidInput:
        return
    assert host_name(name) == name
    assert name.isascii()
    assert name == name.lower()


@given(st.text(max_size=60))
def test_a_url_is_refused_or_keeps_its_spelling(text):
    try:
        target = parse_url(f"http://{text}")
    except InvalidInput:
        return
    assert parse_url(target.url) == target
    assert "@" not in target.authority


@given(st.integers(0, 2**32 - 1))
def test_a_number_never_passes_as_a_name(number):
    plain = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
    assert is_address(host_name(plain))
    for odd in (str(number), hex(number), f"0{plain}", plain.rpartition(".")[0]):
        with pytest.raises(InvalidInput):
            host_name(odd)


@pytest.mark.parametrize(
    "given_scope",
    [
        None,
        [],
        "example.org",
        {},
        {"allowed_domains": []},
        {"allowed_domains": "example.org"},
        {"allowed_domains": ["example.org"], "more": 1},
        {"allowed_domains": ["a.test"] * (DOMAINS_MAX + 1)},
        {"allowed_domains": [7]},
        {"allowed_domains": ["https://example.org"]},
        {"allowed_domains": ["example.org/docs"]},
        {"allowed_domains": ["*.example.org"]},
        {"allowed_domains": ["user@example.org"]},
        {"allowed_domains": ["com"]},
        {"allowed_domains": ["localhost"]},
        {"allowed_domains": [""]},
        {"allowed_domains": ["example.org", "127.1"]},
    ],
)
def test_a_scope_that_is_none_is_named(given_scope):
    with pytest.raises(InvalidInput) as caught:
        parse_scope(given_scope)
    assert str(caught.value.where).startswith("scope")
    if isinstance(given_scope, dict) and len(given_scope.get("allowed_domains", ())) in {1, 2}:
        assert caught.value.hint or "field" in caught.value.message


def test_a_domain_counts_once_and_the_narrowest_is_named():
    found = scope("a.test", "A.test.", "docs.a.test")
    assert found.as_json() == {"allowed_domains": ["a.test", "docs.a.test"]}
    target = Target("https", "x.docs.a.test", 443, "/")
    assert str(found.domain_of(target)) == "docs.a.test"
