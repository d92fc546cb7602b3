"""Fetching within a scope: each hop is checked, and no server can make it more than a miss."""

from __future__ import annotations

import gzip
import time
import zlib

import pytest

from quarterdeck.features.objectives.fetch import HOPS_MAX, Page, _next
from quarterdeck.features.objectives.miss import Miss, Refused
from quarterdeck.features.objectives.scope import parse_url
from tests.features.objectives.sites import Answer, page, redirect, served, squeezed, text

pytestmark = pytest.mark.req("RUN-1")

HTML = {"Content-Type": "text/html; charset=utf-8"}


async def fetched(fetching, answers: dict[str, Answer], path: str = "/", **own):
    async with (
        served({"a.test": answers}) as sites,
        fetching(f"a.test:{sites.port}", ports=(sites.port,), **own) as fetcher,
    ):
        return await fetcher.get(parse_url(f"http://a.test:{sites.port}{path}"))


async def test_a_page_is_fetched_by_name_from_the_checked_address(fetching):
    async with served({"a.test": {"/x": page("T", "Hello ü")}}) as sites:
        asked: list[str] = []

        async def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"]

        own = {"ports": (sites.port,), "resolve": resolve}
        async with fetching(f"a.test:{sites.port}", **own) as fetcher:
            for _ in range(3):
                found = await fetcher.get(parse_url(f"http://a.test:{sites.port}/x?y=1"))
    assert isinstance(found, Page)
    assert "Hello ü" in found.text
    assert asked == ["a.test"], "a name is looked up once"
    host, path, headers = sites.asked[0]
    assert (host, path) == ("a.test", "/x?y=1")
    assert not {"cookie", "authorization", "referer"} & set(headers)


async def test_no_cookies_and_no_proxies(fetching, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    given = Answer(b"x", 200, {**HTML, "Set-Cookie": "id=1; Path=/"})
    async with served({"a.test": {"/": given}}) as sites:
        async with fetching(f"a.test:{sites.port}", ports=(sites.port,)) as fetcher:
            for _ in range(2):
                found = await fetcher.get(parse_url(f"http://a.test:{sites.port}/"))
                assert isinstance(found, Page)
        assert all("cookie" not in headers for _, _, headers in sites.asked)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "168.63.129.16", "::1", "::ffff:127.0.0.1"]
    + ["64:ff9b::7f00:1", "2002:7f00:1::", "8.8.8.8 127.0.0.1", "fe80::1"],
)
async def test_a_name_that_points_inside_is_not_connected_to(fetching, address):
    async with served({"a.test": {"/": page("Secret", "no")}}) as sites:
        names = {"a_test": address}
        async with fetching(f"a.test:{sites.port}", names=names) as fetcher:
            found = await fetcher.get(parse_url(f"http://a.test:{sites.port}/"))
        assert isinstance(found, Miss)
        assert found.rule == "address.forbidden"
        assert not sites.asked
        assert fetcher.meter.requests == 0


async def test_a_name_that_changes_after_the_check_changes_nothing(fetching):
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])

    async def resolve(host: str, port: int) -> list[str]:
        return next(answers)

    async with served({"a.test": {"/": redirect("/x"), "/x": page("T", "x")}}) as sites:
        own = {"ports": (sites.port,), "resolve": resolve}
        async with fetching(f"a.test:{sites.port}", **own) as fetcher:
            found = await fetcher.get(parse_url(f"http://a.test:{sites.port}/"))
    assert isinstance(found, Page)
    assert next(answers) == ["169.254.169.254"], "it was never asked for again"


async def test_every_redirect_is_checked_again(fetching):
    async with served({"a.test": {}, "b.test": {"/": page("B", "b")}}) as sites:
        hosts = sites.hosts["a.test"]
        port = sites.port
        for nth, there in enumerate(
            [
                f"http://evil.test:{port}/",
                "http://169.254.169.254/latest/meta-data",
                f"http://127.0.0.1:{port}/",
                f"http://a.test:{port + 1}/",
                f"http://inside.a.test:{port}/",
                "file:///etc/passwd",
                f"http://user@a.test:{port}/",
                "http://2130706433/",
                "",
            ]
        ):
            hosts[f"/{nth}"] = redirect(there)
        hosts["/ok"] = redirect(f"//b.test:{port}/", 308)
        domains = [f"a.test:{port}", f"b.test:{port}"]
        own = {"ports": (port,), "names": {"inside_a_test": "10.0.0.1"}}
        async with fetching(*domains, **own) as fetcher:
            rules = [
                (await fetcher.get(parse_url(f"http://a.test:{port}/{nth}"))).rule
                for nth in range(9)
            ]
            found = await fetcher.get(parse_url(f"http://a.test:{port}/ok"))
        assert {name for name, _, _ in sites.asked} == {"a.test", "b.test"}
    assert rules == ["scope.domain"] * 4 + ["address.forbidden"] + ["scope.url"] * 4
    assert isinstance(found, Page)
    assert found.target.host == "b.test"


async def test_redirects_have_a_limit(fetching):
    chain = {f"/{n}": redirect(f"/{n + 1}") for n in range(HOPS_MAX)} | {
        f"/{HOPS_MAX}": page("End", "of the chain"),
        "/loop": redirect("/loop"),
    }
    assert isinstance(await fetched(fetching, chain, "/0"), Page)
    assert (await fetched(fetching, chain, "/loop")).rule == "fetch.redirects"


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (Answer(b"x" * 200_001, 200, HTML), "fetch.size"),
        (squeezed(50_000_000), "fetch.size"),
        (Answer(b"no gzip", 200, {**HTML, "Content-Encoding": "gzip"}), "fetch.encoding"),
        (Answer(b"x", 200, {**HTML, "Content-Encoding": "br"}), "fetch.encoding"),
        (Answer(b"x", 200, {**HTML, "Content-Encoding": "gzip, gzip"}), "fetch.encoding"),
        (text("{}", "application/json"), "fetch.type"),
        (Answer(b"\x7fELF", 200, {"Content-Type": "application/octet-stream"}), "fetch.type"),
        (Answer(b"x", 200, {}), "fetch.type"),
        (text("gone", status=410), "fetch.status"),
        (text("", status=500), "fetch.status"),
        (Answer(b"", 304, {}), "fetch.status"),
        (Answer(b"x", 200, {**HTML, "X": "y" * 200_000}), "fetch.network"),
        (Answer(b"x", 200, {**HTML, "Content-Length": "10"}), "fetch.network"),
        (Answer(b"x", 200, {**HTML, "Content-Length": "-1"}), "fetch.network"),
        (Answer(b"x", 999, HTML), "fetch.status"),
    ],
)
async def test_what_a_server_may_do_is_a_miss_with_a_rule(fetching, answer, rule):
    found = await fetched(fetching, {"/": answer})
    assert isinstance(found, Miss), found
    assert found.rule == rule
    assert found.reason.endswith(".")


async def test_a_slow_body_ends_with_its_time(fetching):
    begun = time.monotonic()
    slow = Answer(b"123456789", 200, HTML, pause_s=0.3)
    found = await fetched(fetching, {"/": slow}, page_s=0.5)
    assert isinstance(found, Miss)
    assert found.rule == "fetch.time"
    assert time.monotonic() - begun < 2.5


@pytest.mark.parametrize(
    ("body", "headers", "found"),
    [
        ("é".encode("latin-1"), {"Content-Type": "text/html; charset=ISO-8859-1"}, "é"),
        (b"<meta charset=windows-1252>\x80", {"Content-Type": "text/html"}, "€"),
        (b"\xef\xbb\xbfx", HTML, "x"),
        (b"\xff\xfe", HTML, "\ufffd\ufffd"),
        (b"-abc", {"Content-Type": "text/html; charset=punycode"}, "-abc"),
        (b"abc", {"Content-Type": "text/html; charset=rot13"}, "abc"),
        (b"abc", {"Content-Type": 'text/html; charset="no such"'}, "abc"),
        (gzip.compress(b"zip", mtime=0), {**HTML, "Content-Encoding": "gzip"}, "zip"),
        (zlib.compress(b"zip"), {**HTML, "Content-Encoding": "deflate"}, "zip"),
    ],
)
async def test_bodies_become_text(fetching, body, headers, found):
    page_ = await fetched(fetching, {"/": Answer(body, 200, headers)})
    assert isinstance(page_, Page)
    assert page_.text.endswith(found)


async def test_a_budget_ends_the_fetching(fetching):
    async with served({"a.test": {"/": page("T", "x" * 500)}}) as sites:
        url = parse_url(f"http://a.test:{sites.port}/")
        domain, ports = f"a.test:{sites.port}", (sites.port,)
        async with fetching(domain, ports=ports, requests=2) as fetcher:
            found = [await fetcher.get(url) for _ in range(3)]
            assert [isinstance(one, Page) for one in found] == [True, True, False]
            assert found[2].rule == "budget"
        assert len(sites.asked) == 2
        async with fetching(domain, ports=ports, size_bytes=100) as fetcher:
            assert (await fetcher.get(url)).rule == "budget"
            assert (await fetcher.get(url)).reason == "The budget of bytes is used up."


async def test_who_does_not_answer_is_a_miss(fetching):
    async with served({}) as sites:
        port = sites.port
    async with fetching(f"a.test:{port}", "b.invalid:80", ports=(port,)) as fetcher:
        assert (await fetcher.get(parse_url(f"http://a.test:{port}/"))).rule == "fetch.network"
        assert (await fetcher.get(parse_url("http://b.invalid/"))).rule == "address.unresolved"


async def test_https_never_gives_way_to_http(fetching):
    with pytest.raises(Refused, match="redirects from https"):
        _next(parse_url("https://a.test/"), "http://a.test/")
