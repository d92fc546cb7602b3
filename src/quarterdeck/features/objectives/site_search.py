"""Tool `site_search`: reads the allowed sites itself, from front page and sitemap, and ranks passages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from quarterdeck.core.errors import InvalidInput
from quarterdeck.features.objectives.fetch import PAGE_TYPES, SITEMAP_TYPES, Fetcher, Page
from quarterdeck.features.objectives.frontier import Frontier, Planned
from quarterdeck.features.objectives.manners import Manners
from quarterdeck.features.objectives.markup import (
    Content,
    Link,
    read_sitemap,
)
from quarterdeck.features.objectives.miss import BUDGET, Miss
from quarterdeck.features.objectives.reading import read
from quarterdeck.features.objectives.robots import Robots
from quarterdeck.features.objectives.scope import DEFAULT_PORTS, Domain, Target, parse_url
from quarterdeck.features.objectives.terms import words
from quarterdeck.features.objectives.tools import Findings, Tell

PAGES_MAX = 60
AT_ONCE = 4
SITEMAPS_MAX = 3


class SiteSearch:
    """Fetch and rank; needs no service."""

    name = "site_search"

    async def look_up(self, terms: Sequence[str], fetcher: Fetcher, tell: Tell) -> Findings:
        """Read the sites breadth first within budget and scope."""
        crawl = _Crawl(terms, fetcher)
        await asyncio.gather(*(crawl.enter(domain) for domain in fetcher.scope.domains))
        while batch := crawl.next_batch():
            await asyncio.gather(*(crawl.read(planned) for planned in batch))
            tell(f"{crawl.pages} pages read, {len(crawl.findings.misses)} left out.")
        return crawl.done()


class _Crawl:
    """One walk through the sites."""

    def __init__(self, terms: Sequence[str], fetcher: Fetcher) -> None:
        self.findings = Findings(SiteSearch.name)
        self.pages = 0
        self._terms = set(terms)
        self._fetcher = fetcher
        self._frontier = Frontier(fetcher.scope)
        self._manners = Manners(fetcher)
        self._out_of_budget = False

    async def enter(self, domain: Domain) -> None:
        """Plan a site's front page and what its sitemaps list; try http where https fails."""
        schemes = _schemes(domain)
        for scheme in schemes:
            front = Target(scheme, domain.host, domain.port or DEFAULT_PORTS[scheme], "/")
            rules = await self._manners.rules_of(front)
            if not isinstance(rules, Miss):
                self._frontier.add([front], 0)
                await self._read_sitemaps(front, rules)
                return
            if rules.rule != "fetch.network" or scheme == schemes[-1]:
                self._miss(rules)
                return

    def next_batch(self) -> list[Planned]:
        """What to read now; nothing when the crawl is over."""
        if self._out_of_budget or self.pages >= PAGES_MAX:
            return []
        return self._frontier.take(min(AT_ONCE, PAGES_MAX - self.pages))

    async def read(self, planned: Planned) -> None:
        """Read one page and plan what it links to."""
        target = planned.target
        page = await self._manners.read(target)
        if isinstance(page, Miss):
            self._miss(page)
        elif page.target == target or self._frontier.see(page.target):
            await self._take(page, planned.depth)

    def done(self) -> Findings:
        """The findings, with a note when the budget ended the crawl."""
        if self._out_of_budget:
            self.findings.notes.append("The budget ended the crawl before the sites did.")
        elif self.pages >= PAGES_MAX:
            self.findings.notes.append(f"The crawl ended after {PAGES_MAX} pages.")
        return self.findings

    async def _take(self, page: Page, depth: int) -> None:
        content, found = await read(page, self._fetcher.scope)
        self.pages += 1
        self.findings.looked = True
        self.findings.in_scope += 1
        self.findings.keep(found)
        if content.follow:
            self._frontier.add(self._links(content, page.target), depth + 1)

    def _links(self, content: Content, here: Target) -> list[Target]:
        """The page's links, those with words of the objective first."""
        base = _target(content.base, here) if content.base else here
        ordered = sorted(content.links, key=lambda link: -self._promise(link))
        found = (_target(link.href, base or here) for link in ordered)
        return [target for target in found if target is not None]

    def _promise(self, link: Link) -> int:
        return len(self._terms & set(words(f"{link.text} {link.href}")))

    async def _read_sitemaps(self, front: Target, rules: Robots) -> None:
        stated = rules.sitemaps or ("/sitemap.xml",)
        waiting = [t for t in (_target(url, front) for url in stated) if t is not None]
        for _ in range(SITEMAPS_MAX):
            if not waiting:
                return
            page = await self._fetcher.get(waiting.pop(0), PAGE_TYPES | SITEMAP_TYPES)
            if isinstance(page, Miss):
                if page.rule != "fetch.status":
                    self._miss(page)
                continue
            listed, more = await asyncio.to_thread(read_sitemap, page.text)
            self._plan(listed, front)
            waiting += [t for t in (_target(url, front) for url in more) if t is not None]

    def _plan(self, listed: Sequence[str], front: Target) -> None:
        targets = [t for t in (_target(url, front) for url in listed) if t is not None]
        targets.sort(key=lambda target: -len(self._terms & set(words(target.path))))
        self._frontier.add(targets, 1)

    def _miss(self, miss: Miss) -> None:
        self._out_of_budget = self._out_of_budget or miss.rule == BUDGET
        self.findings.misses.append(miss)


def _schemes(domain: Domain) -> tuple[str, ...]:
    return {80: ("http",), 443: ("https",)}.get(domain.port or 0, ("https", "http"))


def _target(url: str, base: Target) -> Target | None:
    try:
        return parse_url(url, base=base)
    except InvalidInput:
        return None
