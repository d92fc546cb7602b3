"""The two tools on sites that the test serves, and which of them is taken."""

from __future__ import annotations

import json

import pytest

from quarterdeck.core.errors import StepFailed
from quarterdeck.features.objectives.budget import Allowance
from quarterdeck.features.objectives.charter import parse_charter
from quarterdeck.features.objectives.frontier import Frontier
from quarterdeck.features.objectives.scope import Target, parse_scope
from quarterdeck.features.objectives.site_search import PAGES_MAX, SiteSearch
from quarterdeck.features.objectives.tools import Findings, choose, tool_report
from quarterdeck.features.objectives.web_search import WebSearch
from tests.features.objectives.sites import Answer, page, redirect, served, text

pytestmark = pytest.mark.req("RUN-1")

TERMS = ("museum", "open")
MANY = Allowance(100, 10**8, 60.0)


def quiet(_said: str) -> None:
    """Nobody listens."""


async def crawled(fetching, hosts, *, domains=(), terms=TERMS, **own) -> tuple[Findings, list]:
    async with served(hosts) as sites:
        for answers in hosts.values():
            for path, given in answers.items():
                given.body = given.body.replace(b":PORT", f":{sites.port}".encode())
                answers[path] = given
        named = [f"{host}:{sites.port}" for host in domains or hosts]
        async with fetching(*named, ports=(sites.port,), **own) as fetcher:
            found = await SiteSearch().look_up(terms, fetcher, quiet)
            return found, sites.asked


async def test_a_site_is_read_from_its_front_page_along_its_links(fetching):
    hosts = {
        "a.test": {
            "/": page("Home", "Welcome", links={"/one": "One", "http://other.test:PORT/": "Away"}),
            "/one": page("One", "Nothing here", links={"two#x": "Two", "/": "Home"}),
            "/two": page("Two", "The museum is open", links={"mailto:x@a.test": "Write"}),
        },
        "other.test": {"/": page("Other", "The museum is open here too")},
    }
    found, asked = await crawled(fetching, hosts, domains=("a.test",))
    assert {host for host, _, _ in asked} == {"a.test"}
    read = [path for _, path, _ in asked]
    assert read == ["/robots.txt", "/sitemap.xml", "/", "/one", "/two"]
    assert [passage.url.rpartition("/")[2] for passage in found.best(TERMS)] == ["two"]
    assert (found.in_scope, found.outside, found.misses) == (3, 0, [])


async def test_subdomains_are_inside_and_sitemaps_are_read(fetching):
    sitemap = "<urlset><url><loc>http://docs.a.test:PORT/hours</loc></url></urlset>"
    hosts = {
        "a.test": {
            "/robots.txt": text("Sitemap: http://a.test:PORT/map\n"),
            "/map": text(
                "<sitemapindex><sitemap><loc>/more.xml</loc></sitemap>"
                "<sitemap><loc>http://evil.test/x.xml</loc></sitemap></sitemapindex>",
                "application/xml",
            ),
            "/more.xml": text(sitemap, "text/xml"),
            "/": page("Home", "Welcome"),
        },
        "docs.a.test": {"/hours": page("Hours", "The museum is open daily")},
    }
    found, asked = await crawled(fetching, hosts, domains=("a.test",))
    assert [passage.title for passage in found.best(TERMS)] == ["Hours"]
    assert {host for host, _, _ in asked} == {"a.test", "docs.a.test"}
    assert [miss.rule for miss in found.misses] == ["scope.domain"]
    assert found.outside == 1


async def test_robots_are_obeyed(fetching):
    links = {"/private/x": "museum", "/open": "open"}
    hosts = {
        "a.test": {
            "/robots.txt": text("User-agent: *\nDisallow: /private\n"),
            "/": page("Home", "x", links=links),
            "/private/x": page("Private", "The museum is open"),
            "/open": Answer(b"<meta name=robots content=noindex>The museum is open"),
        },
        "b.test": {"/robots.txt": text("oops", status=503), "/": page("B", "museum open")},
    }
    found, asked = await crawled(fetching, hosts)
    assert ("a.test", "/private/x") not in [(host, path) for host, path, _ in asked]
    assert ("b.test", "/") not in [(host, path) for host, path, _ in asked]
    assert [miss.rule for miss in found.misses] == ["robots", "robots"]
    assert found.best(TERMS) == []


async def test_a_trap_of_endless_pages_ends(fetching):
    class Endless(dict[str, Answer]):
        def get(self, path, default=None):
            links = {f"{path.rstrip('/')}/{n}": "museum" for n in range(9)}
            return page(path, f"museum {path}", links=links) if "." not in path else default

    found, asked = await crawled(fetching, {"a.test": Endless()}, requests=1000)
    assert found.in_scope == PAGES_MAX
    assert len(asked) < PAGES_MAX + 5
    assert "ended after" in found.notes[0]


async def test_a_budget_ends_a_crawl_with_what_it_has(fetching):
    links = {f"/{n}": "museum" for n in range(20)}
    hosts = {"a.test": {"/": page("Museum", "The museum is open", links=links)}}
    found, asked = await crawled(fetching, hosts, requests=5)
    # The attempt at https counts too.
    assert len(asked) == 4
    assert found.looked
    assert "budget" in found.notes[0]


async def test_a_site_that_leads_away_or_inside_lowers_the_confidence(fetching):
    good = {"/": page("Museum", "The museum is open from 9:30.", links={"/away": "x", "/in": "y"})}
    bad = good | {"/away": redirect("http://evil.test/"), "/in": redirect("http://10.0.0.1/")}
    clean, _ = await crawled(fetching, {"a.test": dict(good)})
    led, _ = await crawled(fetching, {"a.test": dict(bad)})
    assert led.outside == 2
    assert tool_report(led, TERMS)["confidence"] < tool_report(clean, TERMS)["confidence"]


async def test_sites_that_disagree_lower_the_confidence(fetching):
    def opens(hour: str) -> dict[str, Answer]:
        return {"/": page("Museum", f"The museum, newly built, is open from {hour}.")}

    agreed, _ = await crawled(fetching, {"a.test": opens("9:30"), "b.test": opens("09.30")})
    conflict, _ = await crawled(fetching, {"a.test": opens("9:30"), "b.test": opens("11:00")})
    assert tool_report(agreed, TERMS)["confidence"] == 0.75
    report = tool_report(conflict, TERMS)
    assert report["evidence"]["agreement_by_kind"]["time"] == 0.0
    assert report["confidence"] < 0.5


async def test_sites_that_say_nothing_of_it_give_no_confidence(fetching):
    found, _ = await crawled(fetching, {"a.test": {"/": page("Shop", "We sell fish.")}})
    assert found.looked
    assert tool_report(found, TERMS)["confidence"] == 0.0


async def test_nothing_seen_is_unknown_not_zero(fetching):
    found, _ = await crawled(fetching, {"a.test": {}}, domains=("a.test",))
    assert not found.looked
    assert tool_report(found, TERMS)["confidence"] is None


def results(*found: dict) -> Answer:
    return text(json.dumps({"query": "x", "results": list(found)}), "application/json")


async def searched(fetching, answer: Answer, hosts=None, **own):
    async with served({"127.0.0.1": {"/search": answer}, **(hosts or {})}) as sites:
        answer.body = answer.body.replace(b":PORT", f":{sites.port}".encode())
        domains = [f"{host}:{sites.port}" for host in hosts or {"a.test": {}}]
        async with fetching(*domains, ports=(sites.port,), **own) as fetcher:
            tool = WebSearch(f"http://127.0.0.1:{sites.port}/")
            return await tool.look_up(TERMS, fetcher, quiet), sites.asked


async def test_a_search_engine_is_asked_and_its_results_are_read_at_their_source(fetching):
    hosts = {"a.test": {"/m": page("Museum", "The museum is open from 9:30.")}}
    answer = results(
        {"url": "http://a.test:PORT/m", "title": "M", "content": "It is closed."},
        {"url": "http://a.test:PORT/gone", "title": "Old", "content": "museum <b>open</b>"},
    )
    found, asked = await searched(fetching, answer, hosts)
    host, path, _ = asked[0]
    assert host == "127.0.0.1"
    assert path == "/search?q=museum+open+%28site%3Aa.test%29&format=json"
    origins = {passage.url.rpartition("/")[2]: passage.origin for passage in found.passages}
    assert origins == {"m": "page", "gone": "snippet"}
    assert tool_report(found, TERMS)["confidence"] == 0.5


async def test_results_that_point_inside_the_network_are_dropped_and_reported(fetching):
    inside = [
        "http://127.0.0.1:1/",
        "http://localhost/admin",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://evil.a.test:PORT/",
    ]
    odd = ["http://2130706433/", "http://0x7f.1/", "file:///etc/passwd", "http://a.test:PORT@evil/"]
    away = ["http://other.test/", "http://a.test.evil.test/"]
    answer = results(*({"url": url, "content": "museum open"} for url in inside + odd + away))
    names = {"evil_a_test": "169.254.169.254"}
    found, asked = await searched(fetching, answer, {"a.test": {}}, names=names)
    assert len(asked) == 1, "only the engine was asked"
    assert found.passages == []
    assert [miss.rule for miss in found.misses] == [
        *["address.forbidden"] * len(inside),
        *["scope.url"] * len(odd),
        *["scope.domain"] * len(away),
    ]
    assert found.outside == len(inside + odd + away)
    assert tool_report(found, TERMS)["confidence"] == 0.0


async def test_an_engine_that_ignores_the_scope_lowers_the_confidence(fetching):
    def hosts():
        return {"a.test": {"/m": page("Museum", "The museum is open.")}}

    good = {"url": "http://a.test:PORT/m", "content": "x"}
    bad = {"url": "http://other.test/", "content": "museum open"}
    kept, _ = await searched(fetching, results(good), hosts())
    mixed, _ = await searched(fetching, results(good, bad, bad), hosts())
    assert tool_report(mixed, TERMS)["confidence"] < tool_report(kept, TERMS)["confidence"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (text("forbidden", status=403), "answered 403; does it allow the format json?"),
        (text("<html>"), "did not answer with JSON"),
        (text("[]", "application/json"), "without a list of results"),
        (text('{"results": {}}', "application/json"), "without a list of results"),
        (text("[" * 100_000, "application/json"), "did not answer with JSON"),
        (text(" " * 3_000_000, "application/json"), "its answer is over"),
        (redirect("http://169.254.169.254/"), "answered 302"),
    ],
)
async def test_an_engine_that_fails_is_named(fetching, answer, said):
    with pytest.raises(StepFailed, match="The search engine") as caught:
        await searched(fetching, answer)
    assert said in caught.value.message


async def test_odd_results_are_passed_over(fetching):
    answer = text('{"results": [1, null, {"url": 7}, {}, {"content": []}]}', "application/json")
    found, _ = await searched(fetching, answer)
    assert [miss.rule for miss in found.misses] == ["scope.url"] * 3


async def test_an_engine_that_is_gone_is_named(fetching):
    async with served({}) as sites:
        port = sites.port
    async with fetching("a.test") as fetcher:
        with pytest.raises(StepFailed, match="The search engine"):
            await WebSearch(f"http://127.0.0.1:{port}").look_up(TERMS, fetcher, quiet)


def charter(*domains: str, **more):
    return parse_charter("When is it open?", {"scope": {"allowed_domains": list(domains)}, **more})


def test_the_choice_of_the_tool_is_explained():
    few, many = charter("a.test"), charter(*(f"{n}.test" for n in "abcdef"))
    assert choose(few, MANY, has_engine=True).order == ["site_search", "web_search"]
    assert choose(many, MANY, has_engine=True).order == ["web_search", "site_search"]
    assert choose(many, MANY, has_engine=False).order == ["site_search"]
    short = choose(many, Allowance(5, 1, 1.0), has_engine=True)
    assert short.order == ["web_search"]
    assert "needs 12 requests" in short.candidates[1].reason
    named = choose(charter("a.test", tool="web_search"), MANY, has_engine=True)
    assert (named.tool, named.reason) == ("web_search", "The mission names it.")
    none = choose(charter("a.test", tool="web_search"), MANY, has_engine=False)
    assert none.tool is None
    assert "objectives.search_url" in none.reason


def test_the_sites_take_turns_and_the_nearest_pages_come_first():
    frontier = Frontier(parse_scope({"allowed_domains": ["a.test", "b.test"]}))
    a = [Target("https", "a.test", 443, f"/{n}") for n in range(3)]
    b = [Target("https", "b.test", 443, f"/{n}") for n in range(2)]
    assert frontier.add([*a, Target("https", "c.test", 443, "/")], 2) == 1
    frontier.add(b, 2)
    frontier.add([Target("https", "a.test", 443, "/near")], 1)
    frontier.add(a, 1)
    taken = [planned.target.url for planned in frontier.take(9)]
    assert taken == [
        "https://a.test/near",
        *(f"https://{host}.test/{n}" for n, host in [(0, "a"), (0, "b"), (1, "a"), (1, "b")]),
        "https://a.test/2",
    ]
