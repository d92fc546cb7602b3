"""What this feature is given when the application is wired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.events import Json
from quarterdeck.engine.engine import Engine, Key
from quarterdeck.features.objectives.addresses import Endpoint, parse_endpoint
from quarterdeck.features.objectives.budget import Allowance, Meter
from quarterdeck.features.objectives.fetch import Fetcher, Limits
from quarterdeck.features.objectives.record import RECIPE, execution_record
from quarterdeck.features.objectives.resolve import Resolver, resolve
from quarterdeck.features.objectives.scope import Scope
from quarterdeck.features.objectives.site_search import SiteSearch
from quarterdeck.features.objectives.store import RecordStore
from quarterdeck.features.objectives.tools import Tool
from quarterdeck.features.objectives.web_search import WebSearch


@dataclass(frozen=True, slots=True)
class ObjectiveSettings:
    """How this installation looks things up.

    `search_url` is a SearxNG-compatible engine's address. `internal_endpoints` maps a workspace to
    the `address:port` pairs inside the network that its missions may reach all the same. The rest
    are ceilings for each mission, whatever it states.
    """

    search_url: str | None = None
    internal_endpoints: Mapping[str, Sequence[str]] = field(default_factory=dict)
    requests_max: int = 200
    size_bytes_max: int = 64 * 1024 * 1024
    seconds_max: float = 120.0
    page_bytes_max: int = 2 * 1024 * 1024
    page_s_max: float = 15.0


class Objectives:
    """Wired once; its methods are safe to call at the same time.

    Raises:
        InvalidInput: when a setting does not fit.
    """

    def __init__(
        self,
        engine: Engine,
        settings: ObjectiveSettings | None = None,
        *,
        resolver: Resolver = resolve,
    ) -> None:
        self.settings = settings or ObjectiveSettings()
        self.store = RecordStore(engine.log)
        self._engine = engine
        self._resolver = resolver
        self._internal: dict[str, frozenset[Endpoint]] = {
            workspace: frozenset(parse_endpoint(text) for text in texts)
            for workspace, texts in self.settings.internal_endpoints.items()
        }
        self.tools: dict[str, Tool] = {SiteSearch.name: SiteSearch()}
        if self.settings.search_url is not None:
            self.tools[WebSearch.name] = WebSearch(_engine_url(self.settings.search_url))

    @property
    def ceiling(self) -> Allowance:
        """The most that any mission may use."""
        given = self.settings
        return Allowance(given.requests_max, given.size_bytes_max, given.seconds_max)

    def meter(self, allowed: Allowance) -> Meter:
        """A fresh count of what a mission uses."""
        return Meter(allowed, self._engine.clock.monotonic_s)

    def fetcher(self, workspace: str, scope: Scope, meter: Meter) -> Fetcher:
        """A fetcher for one mission of a workspace; close it after use."""
        given = self.settings
        return Fetcher(
            scope,
            meter,
            resolve=self._resolver,
            internal=self._internal.get(workspace, frozenset()),
            limits=Limits(given.page_bytes_max, given.page_s_max),
        )

    async def record(self, key: Key, *, finished: str | None = None) -> dict[str, Json]:
        """A mission's execution record as it stands now.

        Raises:
            NotFound: when there is no such mission.
        """
        run = await self._engine.run(key)
        now = self._engine.clock.now()
        return execution_record(run, self._engine.weights(run), now, finished=finished)

    async def keep_record(self, key: Key) -> None:
        """Store the record of a mission that is over, if it is one of ours; safe to repeat."""
        row = await self._engine.missions.get(*key)
        if row is not None and row["recipe"] == RECIPE:
            await self.store.put(*key, await self.record(key))


def _engine_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise InvalidInput(
            f"{url[:120]!r} is not the address of a search engine.",
            where="search_url",
            hint="Write it like http://127.0.0.1:8888.",
        )
    return url
