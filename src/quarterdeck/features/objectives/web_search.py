"""Tool `web_search`: asks a SearxNG-compatible engine, keeps what is in scope and reads it itself."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import orjson

from quarterdeck.core.errors import InvalidInput, StepFailed
from quarterdeck.features.objectives.addresses import forbidden
from quarterdeck.features.objectives.fetch import Fetcher, Page
from quarterdeck.features.objectives.manners import Manners
from quarterdeck.features.objectives.markup import plain
from quarterdeck.features.objectives.miss import Miss, NotConnected
from quarterdeck.features.objectives.passages import passages
from quarterdeck.features.objectives.reading import read
from quarterdeck.features.objectives.scope import Scope, Target, is_address, parse_url
from quarterdeck.features.objectives.tools import Findings, Tell

RESULTS_MAX = 30
READ_MAX = 8
ANSWER_BYTES_MAX = 2 * 1024 * 1024
ENGINE_S = 15.0
SNIPPET_CHARS_MAX = 1000


class WebSearch:
    """A search engine found at `base_url`, an address that the administrator has set."""

    name = "web_search"

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    async def look_up(self, terms: Sequence[str], fetcher: Fetcher, tell: Tell) -> Findings:
        """Ask the engine, drop what is out of scope or inside the network, read the rest.

        Raises:
            StepFailed: when the engine does not answer as it should.
        """
        results = await self._ask(terms, fetcher)
        findings = Findings(self.name, looked=True)
        tell(f"The engine knows {len(results)} results.")
        kept: dict[str, tuple[Target, Mapping[str, Any]]] = {}
        for result in results:
            target = await self._admitted(result, fetcher, findings)
            if target is not None:
                kept.setdefault(target.url, (target, result))
        findings.in_scope = len(kept)
        manners = Manners(fetcher)
        for nth, (target, result) in enumerate(kept.values()):
            page = await manners.read(target) if nth < READ_MAX else None
            await self._take(target, result, page, fetcher.scope, findings)
            tell(f"{nth + 1} of {len(kept)} results looked at.")
        return findings

    async def _ask(self, terms: Sequence[str], fetcher: Fetcher) -> list[Mapping[str, Any]]:
        meter = fetcher.meter
        if meter.exhausted() is not None:
            raise StepFailed("The budget is used up before the search.", where=self.name)
        meter.requests += 1
        limit_s = min(ENGINE_S, meter.left_s)
        try:
            async with asyncio.timeout(limit_s):
                status, body = await self._answer(query(terms, fetcher.scope))
        except TimeoutError:
            raise self._failed(f"did not answer within {limit_s:.3g} s") from None
        except NotConnected as error:
            raise self._failed(f"does not answer: {error}") from None
        meter.size_bytes += len(body)
        if status != HTTPStatus.OK:
            raise self._failed(f"answered {status}; does it allow the format json?")
        return self._results(body)

    async def _answer(self, parameters: str) -> tuple[int, bytes]:
        await asyncio.to_thread(importlib.import_module, "quarterdeck.features.objectives.wire")
        from quarterdeck.features.objectives.wire import ask_engine  # noqa: PLC0415 - slow to import

        return await ask_engine(f"{self._base_url}/search?{parameters}", ANSWER_BYTES_MAX)

    def _results(self, body: bytes) -> list[Mapping[str, Any]]:
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise self._failed("did not answer with JSON") from None
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list):
            raise self._failed("answered without a list of results")
        found: list[Mapping[str, Any]] = [one for one in results if isinstance(one, dict)]
        return found[:RESULTS_MAX]

    async def _admitted(
        self, result: Mapping[str, Any], fetcher: Fetcher, findings: Findings
    ) -> Target | None:
        """The result's target when it is in scope and outside of the network; else a miss."""
        url = str(result.get("url", ""))[:2048]
        try:
            target = parse_url(url)
        except InvalidInput as error:
            findings.misses.append(Miss(url[:200], "scope.url", error.message))
            return None
        in_scope = fetcher.scope.domain_of(target) is not None
        miss = await fetcher.check(target) if in_scope else _outside(target)
        if miss is not None:
            findings.misses.append(miss)
            return None
        return target

    async def _take(
        self,
        target: Target,
        result: Mapping[str, Any],
        page: Page | Miss | None,
        scope: Scope,
        findings: Findings,
    ) -> None:
        """A result as passages: of the page where it was read, else the engine's own words."""
        if isinstance(page, Page):
            _content, found = await read(page, scope)
            findings.keep(found)
            return
        findings.misses += [page] if page is not None else []
        snippet = plain(str(result.get("content", ""))[:SNIPPET_CHARS_MAX])
        title = plain(str(result.get("title", ""))[:SNIPPET_CHARS_MAX])
        source = str(scope.domain_of(target))
        findings.keep(
            passages(
                [snippet] if snippet else [],
                url=target.url,
                title=title,
                source=source,
                origin="snippet",
            )
        )

    def _failed(self, what: str) -> StepFailed:
        return StepFailed(f"The search engine {what}.", where=self.name, retry=True)


def query(terms: Sequence[str], scope: Scope) -> str:
    """The parameters of a search for the terms on the allowed sites."""
    sites = " OR ".join(f"site:{domain.host}" for domain in scope.domains)
    return urlencode({"q": f"{' '.join(terms)} ({sites})", "format": "json"})


def _outside(target: Target) -> Miss:
    """Why a result outside of the scope is dropped; its name is not even looked up."""
    inside = forbidden(target.host) if is_address(target.host) else None
    if inside is None and target.host != "localhost":
        reason = f"{target.authority} is not an allowed domain."
        return Miss(target.url, "scope.domain", reason)
    reason = f"It points inside the network: {inside or 'loopback'}."
    return Miss(target.url, "address.forbidden", reason)
