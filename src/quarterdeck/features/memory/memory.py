"""The learning memory as the rest of the product uses it: take in, find, learn."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from quarterdeck.core.clock import Clock, iso
from quarterdeck.core.errors import NotFound
from quarterdeck.core.events import Event, EventType, Json
from quarterdeck.features.memory.chunks import CHUNKS_MAX, TEXT_BYTES_MAX, chunks, readable
from quarterdeck.features.memory.lesson import cost_of
from quarterdeck.features.memory.search import Hit, search
from quarterdeck.features.memory.store import MemoryStore, Source
from quarterdeck.storage.artifacts import Artifacts
from quarterdeck.storage.log import Log

_CALLS_PAGE = 1000
_KIND_BY_FOLDER = {
    ("mission_briefs", "plan"): "plan",
    ("mission_briefs", "execution_log"): "execution_log",
    ("mission_briefs", "promotion"): "promotion",
    ("mission_briefs", "lesson"): "lesson",
    ("mission_briefs", ""): "brief",
    ("mentors", "summary"): "roundtable",
    ("mentors", ""): "mentor_answer",
    ("prototypes", ""): "prototype",
    ("test_results", ""): "test_result",
}
KINDS = tuple(dict.fromkeys([*_KIND_BY_FOLDER.values(), "other"]))


class Memory:
    """Wired once; its methods are safe to call at the same time."""

    def __init__(self, log: Log, artifacts: Artifacts, clock: Clock) -> None:
        self.store = MemoryStore(log)
        self._log = log
        self._artifacts = artifacts
        self._clock = clock

    async def ingest(self, event: Event) -> None:
        """Take in the artifact of a `learning.artifact.stored` event; repeating it is harmless."""
        source = source_of(event)
        if source is None or await self.store.has(source.id):
            return
        size = event.data.get("size")
        if isinstance(size, int) and size > TEXT_BYTES_MAX:
            await self.store.put(replace(source, skipped="too large to index"), ())
            return
        try:
            content = await self._artifacts.get(source.sha256)
        except NotFound:
            await self.store.put(replace(source, skipped="its bytes are gone"), ())
            return
        text = readable(content, str(event.data.get("media_type", "")))
        if text is None:
            await self.store.put(replace(source, skipped="not text"), ())
            return
        pieces = [piece for piece in chunks(text) if piece.strip()]
        cut = f"only the first {CHUNKS_MAX} of {len(pieces)} chunks are indexed"
        kept = source if len(pieces) <= CHUNKS_MAX else replace(source, skipped=cut)
        await self.store.put(kept, pieces[:CHUNKS_MAX])

    async def search(
        self,
        workspace: str,
        text: str,
        *,
        limit: int = 10,
        kinds: Sequence[str] = (),
        without_mission: str | None = None,
    ) -> list[Hit]:
        """The best chunks of a workspace for a person's words; never raises on what they typed."""
        return await search(
            self.store,
            workspace,
            text,
            now=self._clock.now(),
            limit=limit,
            kinds=kinds,
            without_mission=without_mission,
        )

    async def learn(self, workspace: str, mission: str, record: dict[str, Json]) -> None:
        """Remember how a mission ended."""
        await self.store.put_lesson(workspace, mission, record, at=iso(self._clock.now()))

    async def overturn(self, workspace: str, mission: str) -> None:
        """A promotion was rolled back: its lesson no longer counts as upheld."""
        await self.store.overturn(workspace, mission, "rolled_back")

    async def outcomes(self, workspace: str, task_kind: str, agreement: str) -> tuple[int, int]:
        """(upheld, total) of earlier missions: what calibrates the mentors' confidence."""
        return await self.store.upheld(workspace, task_kind, agreement)

    async def cost(self, workspace: str, mission: str) -> Mapping[str, Any]:
        """What the mission's model calls took so far."""
        calls: list[Mapping[str, Json]] = []
        after = 0
        while True:
            page = await self._log.read(
                after=after,
                workspace=workspace,
                mission=mission,
                types=[EventType.MODEL_CALLED],
                limit=_CALLS_PAGE,
            )
            calls += [recorded.event.data for recorded in page]
            if len(page) < _CALLS_PAGE:
                return cost_of(calls)
            after = page[-1].seq


def source_of(event: Event) -> Source | None:
    """The document that an event announces, or None when it carries no path or hash."""
    path, sha256 = event.data.get("path"), event.data.get("sha256")
    if not isinstance(path, str) or not isinstance(sha256, str):
        return None
    identity = hashlib.sha256(f"{event.workspace}\n{path}\n{sha256}".encode()).hexdigest()
    return Source(
        id=identity,
        workspace=event.workspace,
        mission=event.mission,
        path=path,
        sha256=sha256,
        name=str(event.data.get("name", path)),
        kind=kind_of(path),
        stored_at=event.at,
    )


def kind_of(path: str) -> str:
    """What sort of document lies at this place of the documented layout (DOC-2)."""
    parts = PurePosixPath(path).parts
    if len(parts) < 3:
        return "other"
    folder = parts[2] if len(parts) > 3 else ""
    general = _KIND_BY_FOLDER.get((parts[0], ""), "other")
    return _KIND_BY_FOLDER.get((parts[0], folder), general)
