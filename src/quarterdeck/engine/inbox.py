"""The watched folder: a brief dropped below the learning memory becomes a mission, once (ORC-2)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from watchfiles import Change, awatch

from quarterdeck.core.clock import iso
from quarterdeck.core.errors import Conflict, InvalidInput, QuarterdeckError, Unavailable
from quarterdeck.core.events import Event, EventType, Json
from quarterdeck.core.ids import OWNER
from quarterdeck.engine.brief_file import BriefFile, parse_brief, read_untrusted
from quarterdeck.engine.engine import Engine
from quarterdeck.engine.recipes import Recipe
from quarterdeck.engine.submit import submit
from quarterdeck.storage.briefs import brief_row, brief_state
from quarterdeck.storage.log import Commit

SETTLE_S = 0.3
"""A file that does not parse is read again after this, in case it was half written."""
DEBOUNCE_MS = 100
AGAIN_S = 1.0
AT_ONCE_MAX = 16


class Inbox:
    """Watches one folder; what the product itself wrote there is never taken for a brief."""

    def __init__(
        self,
        engine: Engine,
        recipes: Mapping[str, Recipe],
        folder: Path,
        *,
        workspace: str,
        report: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._recipes = recipes
        self._folder = folder
        self._workspace = workspace
        self._report = report
        self._ours: set[str] = set()
        self._stop = asyncio.Event()
        self._at_once = asyncio.Semaphore(AT_ONCE_MAX)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look at what came while nobody watched, then watch."""
        self._ours = await self._engine.missions.learning_paths()
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._watch(), name="inbox")

    async def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def _watch(self) -> None:
        """Watch until told to stop; a watch that breaks is set up again."""
        while not self._stop.is_set():
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001 - one of the supervising loops
                self._report(f"inbox: {type(error).__name__}: {error}")
                await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        changes = awatch(
            self._folder,
            stop_event=self._stop,
            debounce=DEBOUNCE_MS,
            step=20,
            watch_filter=_is_brief_name,
            yield_on_timeout=True,
            rust_timeout=200,
        )
        looked = False
        async for changed in changes:
            # Only now is the watch set up: a file dropped meanwhile is seen by one or the other.
            if not looked:
                looked = True
                await self._look(sorted(await asyncio.to_thread(_json_files, self._folder)))
            await self._look(sorted({Path(path) for _change, path in changed}))

    async def _look(self, files: list[Path]) -> None:
        """Consider the files side by side: a bad one, read twice, holds up no good one."""
        await asyncio.gather(*(self._glance(file) for file in files))

    async def _glance(self, file: Path) -> None:
        while not self._stop.is_set():
            try:
                async with self._at_once:
                    await self.consider(file)
            except FileNotFoundError:
                return
            except Unavailable as error:
                self._report(f"inbox: {file.name}: {error}")
                await asyncio.sleep(AGAIN_S)
            except (QuarterdeckError, OSError) as error:
                self._report(f"inbox: {file.name}: {error}")
                return
            else:
                return

    async def consider(self, file: Path) -> None:
        """Take up one file: a brief is detected, nonsense is rejected, our own is left alone."""
        path = file.relative_to(self._folder).as_posix()
        if path in self._ours or path in self._engine.artifacts.written:
            return
        try:
            content, found = await self._read(file)
        except InvalidInput as error:
            await self._reject(path, _digest_of(file), error)
            return
        if found is None:
            return
        sha256 = hashlib.sha256(content).hexdigest()
        state = await brief_state(self._engine.log.db, path, sha256)
        if state in {"submitted", "rejected"}:
            return
        if state is None:
            await self._detected(path, sha256, found)
        await self._submit(path, sha256, found)

    async def _read(self, file: Path) -> tuple[bytes, BriefFile | None]:
        try:
            content = await asyncio.to_thread(read_untrusted, file)
            return content, parse_brief(content)
        except InvalidInput:
            await asyncio.sleep(SETTLE_S)
        content = await asyncio.to_thread(read_untrusted, file)
        return content, parse_brief(content)

    async def _detected(self, path: str, sha256: str, found: BriefFile) -> None:
        data = {
            "path": path,
            "sha256": sha256,
            "mission_id": found.submission.mission_id,
            "auto_orchestrate": not found.submission.hold,
            "auto_implement": found.submission.auto_implement,
            "ignored_fields": list(found.ignored),
        }
        event = self._event(EventType.MISSION_BRIEF_DETECTED, data)
        await self._record(event, path, sha256, "detected", mission=None, reason=None)

    async def _submit(self, path: str, sha256: str, found: BriefFile) -> None:
        """Submit it under an id that a repetition after a crash would give again."""
        mission_id = found.submission.mission_id or f"mission_{sha256[:16]}"
        given = found.submission.model_copy(update={"mission_id": mission_id})
        try:
            await submit(
                self._engine,
                self._recipes,
                given,
                workspace=self._workspace,
                actor=f"inbox:{sha256}",
            )
        except Unavailable:
            raise
        except Conflict as error:
            if not await self._is_ours(mission_id, sha256):
                await self._reject(path, sha256, error)
                return
        except QuarterdeckError as error:
            await self._reject(path, sha256, error)
            return
        at = iso(self._engine.clock.now())
        row = brief_row(path, sha256, "submitted", mission=mission_id, reason=None, at=at)
        await self._engine.log.commit(Commit(rows=[row]))

    async def _is_ours(self, mission_id: str, sha256: str) -> bool:
        run = await self._engine.run((self._workspace, mission_id))
        return run.mission.created_by == f"inbox:{sha256}"

    async def _reject(self, path: str, sha256: str, error: QuarterdeckError) -> None:
        if await brief_state(self._engine.log.db, path, sha256) == "rejected":
            return
        data = {"path": path, "reason": str(error)}
        event = self._event(EventType.MISSION_BRIEF_REJECTED, data)
        await self._record(event, path, sha256, "rejected", mission=None, reason=str(error))

    async def _record(
        self,
        event: Event,
        path: str,
        sha256: str,
        state: str,
        *,
        mission: str | None,
        reason: str | None,
    ) -> None:
        row = brief_row(path, sha256, state, mission=mission, reason=reason, at=event.at)
        await self._engine.log.commit(Commit([event], [row]))

    def _event(self, type: EventType, data: Mapping[str, Json]) -> Event:
        at = iso(self._engine.clock.now())
        return Event(type, at, self._workspace, OWNER, None, None, data)


def _is_brief_name(change: Change, path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return change is not Change.deleted and name.endswith(".json") and not name.startswith(".")


def _json_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.json") if not path.name.startswith(".")]


def _digest_of(file: Path) -> str:
    """What tells this state of an unreadable file from another: never its content."""
    about = file.lstat()
    facts = f"{about.st_ino}:{about.st_size}:{about.st_mtime_ns}:{about.st_mode}"
    return hashlib.sha256(facts.encode()).hexdigest()
