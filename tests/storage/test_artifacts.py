"""Artifacts are whole or absent, and stay where they belong."""

from __future__ import annotations

import hashlib

import pytest

from quarterdeck.core.errors import Conflict, InvalidInput, NotFound, Unavailable
from quarterdeck.storage.artifacts import Artifacts, remove_drafts
from quarterdeck.storage.directory import DataDirectory


@pytest.fixture
def directory(tmp_path) -> DataDirectory:
    made = DataDirectory(tmp_path / "data")
    made.create()
    return made


@pytest.mark.req("ORC-12", "DOC-2")
async def test_bytes_come_back_by_hash_and_stand_in_the_learning_memory(directory):
    store = Artifacts(directory)
    kept = await store.put(
        "brief", b"{}", media_type="application/json", path="mission_briefs/m/x.json"
    )
    assert kept.sha256 == hashlib.sha256(b"{}").hexdigest()
    assert await store.get(kept.sha256) == b"{}"
    assert (directory.learning / "mission_briefs/m/x.json").read_bytes() == b"{}"


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\x00b"])
async def test_a_path_that_leaves_the_learning_memory_is_refused(directory, path):
    with pytest.raises(InvalidInput, match="leaves the learning memory"):
        await Artifacts(directory).put("x", b"x", media_type="text/plain", path=path)


@pytest.mark.parametrize("sha256", ["0" * 64, "../../etc/passwd", "", "Z" * 64])
async def test_unknown_hashes_are_not_found(directory, sha256):
    with pytest.raises(NotFound):
        await Artifacts(directory).get(sha256)


async def test_damage_on_the_disk_is_noticed(directory):
    store = Artifacts(directory)
    kept = await store.put("x", b"right", media_type="text/plain")
    (directory.artifacts / kept.sha256[:2] / kept.sha256).write_bytes(b"wrong")
    with pytest.raises(Unavailable, match="damaged"):
        await store.get(kept.sha256)


async def test_a_write_that_fails_leaves_no_half_file(directory, monkeypatch):
    def no_space(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(Unavailable, match="No space left"):
        await Artifacts(directory).put("x", b"x", media_type="text/plain", path="a/b.json")
    assert [p for p in directory.root.rglob("*") if p.is_file()] == []


def test_one_process_at_a_time_has_the_directory(directory):
    directory.lock()
    with pytest.raises(Conflict, match="uses this data directory"):
        DataDirectory(directory.root).lock()
    directory.unlock()
    other = DataDirectory(directory.root)
    other.lock()
    other.unlock()


def test_what_a_death_left_half_written_is_removed_and_nothing_else(directory):
    draft, name = b"half", ".brief.json.0123456789ab.part"
    places = [directory.root, directory.artifacts / "ab", directory.learning / "mission_briefs/m"]
    kept = [directory.sandboxes / "m" / name, directory.learning / "movie.part"]
    for file in (*(place / name for place in places), *kept):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(draft)
    assert remove_drafts(directory, before_s=0) == 0
    assert remove_drafts(directory, before_s=kept[0].stat().st_mtime + 60) == 3
    assert all(file.exists() for file in kept)
    assert not any((place / name).exists() for place in places)
