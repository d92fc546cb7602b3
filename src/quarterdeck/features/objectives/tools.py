"""The port of the tools that look something up, and which of them is taken, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from quarterdeck.core.events import Json
from quarterdeck.features.objectives.budget import Allowance
from quarterdeck.features.objectives.charter import Charter
from quarterdeck.features.objectives.confidence import confidence, evidence
from quarterdeck.features.objectives.fetch import Fetcher
from quarterdeck.features.objectives.miss import Miss
from quarterdeck.features.objectives.passages import Passage, ranked

PASSAGES_MAX = 12
PASSAGES_KEPT_MAX = 5000
MISSES_SHOWN_MAX = 50
CRAWLED_DOMAINS_MAX = 5
"""With more domains than this a search engine, where there is one, sees more than a short crawl."""
OUTSIDE_RULES = frozenset({"scope.domain", "scope.url", "address.forbidden", "fetch.downgrade"})
"""Rules of misses that came from outside of the allowed domains, or led there."""

Tell = Callable[[str], None]


@dataclass(slots=True)
class Findings:
    """What a tool brings back.

    `looked` says whether anything could be read or searched at all. `in_scope` counts the results
    from the allowed domains, `misses` is what was left out and by which rule; `notes` are remarks
    for people.
    """

    tool: str
    looked: bool = False
    passages: list[Passage] = field(default_factory=list)
    in_scope: int = 0
    misses: list[Miss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def keep(self, found: Sequence[Passage]) -> None:
        """Take passages in, up to what can be ranked in moments."""
        self.passages += found[: max(0, PASSAGES_KEPT_MAX - len(self.passages))]

    @property
    def outside(self) -> int:
        """Results that came from outside of the allowed domains, or led there."""
        return sum(miss.rule in OUTSIDE_RULES for miss in self.misses)

    def best(self, terms: Sequence[str]) -> list[Passage]:
        """The passages that answer best."""
        return ranked(self.passages, terms, limit=PASSAGES_MAX)


class Tool(Protocol):
    """Looks something up through the fetcher of one mission, never past it to a found page."""

    name: str

    async def look_up(self, terms: Sequence[str], fetcher: Fetcher, tell: Tell) -> Findings: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tool with the reasons for and against it; `eligible` when it may be used at all."""

    tool: str
    eligible: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The tool taken and why; `candidates` in the order in which they would be tried."""

    tool: str | None
    reason: str
    candidates: tuple[Candidate, ...]

    @property
    def order(self) -> list[str]:
        """The eligible tools, the one taken first."""
        return [candidate.tool for candidate in self.candidates if candidate.eligible]


def choose(charter: Charter, allowed: Allowance, *, has_engine: bool) -> Choice:
    """The tool for a charter, by what it states, what there is and what the budget allows."""
    candidates = [_site_search(charter, allowed), _web_search(allowed, has_engine=has_engine)]
    if has_engine and len(charter.scope.domains) > CRAWLED_DOMAINS_MAX:
        candidates.reverse()
    if charter.tool is not None:
        candidates = [c for c in candidates if c.tool == charter.tool]
    candidates.sort(key=lambda candidate: not candidate.eligible)
    first = candidates[0]
    if not first.eligible:
        return Choice(None, first.reason, tuple(candidates))
    asked = "The mission names it." if charter.tool else first.reason
    return Choice(first.tool, asked, tuple(candidates))


def requests_needed(tool: str, domains: int) -> int:
    """The fewest requests with which a tool can look at anything."""
    # A search: the query. A crawl: each site's robots.txt and front page.
    return 1 if tool == "web_search" else 2 * domains


def _site_search(charter: Charter, allowed: Allowance) -> Candidate:
    domains = len(charter.scope.domains)
    needed = requests_needed("site_search", domains)
    if allowed.requests < needed:
        reason = (
            f"It needs {needed} requests for {domains} domains; {allowed.requests} may be made."
        )
        return Candidate("site_search", False, reason)
    reason = f"It reads the {domains} allowed site(s) itself and needs no service."
    return Candidate("site_search", True, reason)


def _web_search(allowed: Allowance, *, has_engine: bool) -> Candidate:
    if not has_engine:
        return Candidate("web_search", False, "No search engine is set up (objectives.search_url).")
    if allowed.requests < requests_needed("web_search", 1):
        return Candidate("web_search", False, "The budget allows no request.")
    reason = "A search engine knows more pages of many sites than a short crawl reaches."
    return Candidate("web_search", True, reason)


def tool_report(findings: Findings, terms: Sequence[str]) -> dict[str, Json]:
    """What the record says about a tool's work, with the evidence that its confidence rests on."""
    best = findings.best(terms)
    found = evidence(
        best,
        terms,
        looked=findings.looked,
        in_scope=findings.in_scope,
        outside=findings.outside,
    )
    return {
        "tool": findings.tool,
        "confidence": confidence(found),
        "evidence": found.as_json(),
        "passages": [passage.as_json() for passage in best],
        "in_scope": findings.in_scope,
        "outside": findings.outside,
        "misses": [miss.as_json() for miss in findings.misses[:MISSES_SHOWN_MAX]],
        "misses_total": len(findings.misses),
        "notes": findings.notes,
    }
