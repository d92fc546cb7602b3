"""The watched folder: a dropped brief starts its mission once; nonsense is told and left (ORC-2)."""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quarterdeck.core.run import Status
from quarterdeck.core.step import Choice, Done, Wait
from quarterdeck.engine.brief_file import SIZE_MAX
from quarterdeck.engine.inbox import Inbox
from quarterdeck.engine.recipes import Recipe
from quarterdeck.engine.submit import Submission, submit
from quarterdeck.storage.directory import DataDirectory
from tests.engine.building import engine_at, kind, plan

pytestmark = pytest.mark.req("ORC-2")
SOLVE = Recipe(
    "solve",
    1,
    "test",
    plan({"id": "start", "when": "mission.hold"}, {"id": "work", "needs": ["start"]}),
)


async def start(ctx):
    if ctx.answers:
        return Done()
    return Wait("Start?", (Choice("start", "Start"), Choice("stop", "Stop")))


async def work(ctx):
    await ctx.store("own.json", brief(mission_id="own"), path="mission_briefs/own.json")
    return Done()


def brief(**fields) -> bytes:
    given = {"objectives": ["do it"], "auto_orchestrate": True, **fields}
    return json.dumps({name: value for name, value in given.items() if value is not None}).encode()


class Desk:
    """An engine with its watched folder, and what one asks of them."""

    def __init__(self, engine, inbox, folder: Path) -> None:
        self.engine, self.inbox, self.folder = engine, inbox, folder

    async def events(self, type: str) -> list:
        return [r.event for r in await self.engine.log.read(types=[type])]

    async def all_of(self, type: str, count: int, *, within_s: float = 5.0) -> list:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = await self.events(type)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)
        raise AssertionError(f"{len(found)} of {count} {type}")

    async def one(self, type: str, *, within_s: float = 5.0):
        return (await self.all_of(type, 1, within_s=within_s))[-1]

    async def quiet(self) -> None:
        """Long enough for anything that would still come."""
        await asyncio.sleep(0.3)


@pytest.fixture
def desk(tmp_path):
    folder = DataDirectory(tmp_path).learning
    (folder / "mission_briefs").mkdir(parents=True)

    @asynccontextmanager
    async def opened():
        kinds = kind("start", start), kind("work", work)
        async with engine_at(tmp_path, *kinds) as engine:
            inbox = Inbox(
                engine,
                {"solve": SOLVE},
                folder,
                workspace="default",
                report=lambda line: None,
            )
            await inbox.start()
            try:
                yield Desk(engine, inbox, folder)
            finally:
                await inbox.stop()

    opened.folder = folder / "mission_briefs"
    return opened


async def test_a_dropped_brief_starts_within_a_second_and_once(desk):
    async with desk() as at:
        await asyncio.sleep(0.1)
        (desk.folder / "a.json").write_bytes(brief(mission_id="m1"))
        await at.one("step.started", within_s=1.0)
        run = await asyncio.wait_for(at.engine.ended(("default", "m1")), 5)
        (desk.folder / "a.json").touch()
        await at.quiet()
        assert len(await at.events("mission.submitted")) == 1
        detected = await at.events("mission.brief.detected")
    assert run.status is Status.DONE
    assert run.mission.auto_implement is False
    assert [event.data["path"] for event in detected] == ["mission_briefs/a.json"]


async def test_a_brief_dropped_while_the_server_was_down_starts_once(desk):
    (desk.folder / "late.json").write_bytes(brief(mission_id=None))
    for _ in range(2):
        async with desk() as at:
            await at.one("mission.finished")
            await at.quiet()
            assert len(await at.events("mission.submitted")) == 1
            assert len(await at.events("mission.brief.detected")) == 1


async def test_a_crash_between_detection_and_submission_loses_nothing(desk, monkeypatch):
    (desk.folder / "a.json").write_bytes(brief(mission_id="m1"))

    async def dying(*_args, **_kwargs):
        raise asyncio.CancelledError

    with monkeypatch.context() as broken:
        broken.setattr(Inbox, "_submit", dying)
        try:
            async with desk() as at:
                await at.one("mission.brief.detected")
        except asyncio.CancelledError:
            pass
    async with desk() as at:
        await at.one("mission.finished")
        assert len(await at.events("mission.brief.detected")) == 1


async def test_without_auto_orchestrate_it_waits_at_its_first_step(desk):
    async with desk() as at:
        (desk.folder / "a.json").write_bytes(brief(mission_id="m1", auto_orchestrate=False))
        await at.one("step.waiting")
        run = await at.engine.idle(("default", "m1"))
    assert run.in_status(Status.WAITING) == ["start"]


BAD = {
    "malformed": b'{"auto_orchestrate": true, "objectives": [',
    "not_utf8": b'{"auto_orchestrate": true, "objectives": ["\xff"]}',
    "no_objectives": brief(objectives=None),
    "a_word_for_a_flag": brief(auto_orchestrate="yes"),
    "climbing_id": brief(mission_id="../../etc/passwd"),
    "a_number_as_id": brief(mission_id=7),
    "nan": b'{"auto_orchestrate": true, "objectives": ["x"], "constraints": {"a": NaN}}',
    "deep": b'{"auto_orchestrate": true, "objectives": ["x"], "constraints": {"a": '
    + b"[" * 5000
    + b"]" * 5000
    + b"}}",
    "unknown_recipe": brief(recipe="nothing"),
    "too_large": brief(objectives=["x" * SIZE_MAX]),
}


async def test_what_is_no_usable_brief_is_rejected_with_the_reason_and_left(desk):
    for name, content in BAD.items():
        (desk.folder / f"{name}.json").write_bytes(content)
    (desk.folder / "zz_fine.json").write_bytes(brief(mission_id="fine"))
    async with desk() as at:
        await at.one("mission.submitted", within_s=1.5)
        rejected = await at.all_of("mission.brief.rejected", len(BAD))
        assert len(await at.events("mission.submitted")) == 1
    reasons = {Path(event.data["path"]).stem: event.data["reason"] for event in rejected}
    assert set(reasons) == set(BAD)
    assert all(reasons.values())
    assert "mission_id" in reasons["climbing_id"]
    assert "auto_orchestrate" in reasons["a_word_for_a_flag"]
    assert "deeper" in reasons["deep"] or "JSON" in reasons["deep"]
    for name, content in BAD.items():
        assert (desk.folder / f"{name}.json").read_bytes() == content


async def test_a_rejection_is_told_once_and_a_mended_file_is_taken(desk):
    file = desk.folder / "a.json"
    file.write_bytes(b"{")
    for _ in range(2):
        async with desk() as at:
            await at.one("mission.brief.rejected")
            await at.quiet()
            assert len(await at.events("mission.brief.rejected")) == 1
    async with desk() as at:
        file.write_bytes(brief(mission_id="m1"))
        await at.one("mission.submitted")


async def test_a_file_that_is_still_being_written_is_waited_for(desk):
    content = brief(mission_id="m1")
    async with desk() as at:
        await asyncio.sleep(0.1)
        with (desk.folder / "slow.json").open("wb") as stream:
            stream.write(content[:20])
            stream.flush()
            await asyncio.sleep(0.2)
            stream.write(content[20:])
        await at.one("mission.submitted")
        assert await at.events("mission.brief.rejected") == []


async def test_links_pipes_and_huge_files_are_not_read(desk, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_bytes(brief(mission_id="stolen"))
    (desk.folder / "link.json").symlink_to(secret)
    os.mkfifo(desk.folder / "pipe.json")
    with (desk.folder / "huge.json").open("wb") as stream:
        stream.truncate(1 << 30)
    (desk.folder / "folder.json").mkdir()
    (desk.folder / "fine.json").write_bytes(brief(mission_id="fine"))
    async with desk() as at:
        await at.one("mission.submitted")
        rejected = await at.all_of("mission.brief.rejected", 4)
    reasons = {event.data["path"].split("/")[-1]: event.data["reason"] for event in rejected}
    assert "symbolic link" in reasons["link.json"]
    assert "plain file" in reasons["pipe.json"]
    assert "limit" in reasons["huge.json"]
    assert "plain file" in reasons["folder.json"]


async def test_a_second_brief_of_a_taken_id_is_rejected(desk):
    (desk.folder / "a.json").write_bytes(brief(mission_id="m1"))
    async with desk() as at:
        await at.one("mission.submitted")
        (desk.folder / "b.json").write_bytes(brief(mission_id="m1", objectives=["other"]))
        rejected = await at.one("mission.brief.rejected")
    assert "'m1' already" in rejected.data["reason"]


async def test_what_the_product_writes_itself_never_starts_anything(desk):
    for _ in range(2):
        async with desk() as at:
            if not await at.events("mission.submitted"):
                given = Submission(mission_id="m1", brief="x")
                await submit(
                    at.engine, {"solve": SOLVE}, given, workspace="default", actor="user:owner"
                )
            await asyncio.wait_for(at.engine.ended(("default", "m1")), 5)
            assert (desk.folder / "own.json").exists()
            await at.quiet()
            assert len(await at.events("mission.submitted")) == 1
            assert await at.events("mission.brief.detected") == []


async def test_other_json_is_left_alone(desk):
    (desk.folder / "notes.json").write_bytes(b'{"title": "notes", "objectives": ["x"]}')
    (desk.folder / "list.json").write_bytes(b"[1, 2]")
    (desk.folder / ".hidden.json").write_bytes(brief())
    (desk.folder / "brief.txt").write_bytes(brief())
    async with desk() as at:
        await at.quiet()
        assert await at.engine.log.read() == []
