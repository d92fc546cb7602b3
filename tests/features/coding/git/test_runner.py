"""The runner: bounded in time and output, our configuration only, one kind of error."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from quarterdeck.core.errors import NotFound, Unavailable
from quarterdeck.features.coding.git.lock import SharedLock
from quarterdeck.features.coding.git.runner import Git, GitFailed, complaint
from tests.features.coding.git.repositories import git


async def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    sleeper = f"alias.x=!sleep 30; touch {tmp_path}/late"
    with pytest.raises(GitFailed, match="did not finish within") as caught:
        await Git(tmp_path).run("-c", sleeper, "x", timeout_s=0.3)
    assert caught.value.retry
    assert time.monotonic() - began < 10
    assert not (tmp_path / "late").exists()


async def test_a_cancelled_command_is_ended(tmp_path: Path) -> None:
    running = asyncio.ensure_future(Git(tmp_path).run("-c", "alias.x=!sleep 30", "x"))
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_output_over_the_limit_is_cut_or_an_error(tmp_path: Path) -> None:
    endless = ("-c", "alias.x=!yes", "x")
    cut = await Git(tmp_path).run(*endless, output_max_bytes=1000, cut=True)
    assert (len(cut.stdout), cut.truncated) == (1000, True)
    with pytest.raises(GitFailed, match="output is over 1000 bytes"):
        await Git(tmp_path).run(*endless, output_max_bytes=1000)


async def test_large_input_and_output_do_not_block_each_other(tmp_path: Path) -> None:
    content = b"x\n" * 2_000_000
    ran = await Git(tmp_path).run("stripspace", stdin=content)
    assert ran.stdout == content


async def test_only_our_configuration_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "planted")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "planted")
    monkeypatch.setenv("SECRET_TOKEN", "planted")
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = planted\n")
    listed = await Git(tmp_path).text("config", "--list")
    assert "planted" not in listed
    assert "core.hookspath=/dev/null" in listed
    assert "planted" not in str(Git(tmp_path).environment())


async def test_errors_tell_the_first_useful_line_without_credentials(tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match=r"^git: git rev-parse: not a git repository") as caught:
        await Git(tmp_path, cwd=tmp_path).run("rev-parse", "HEAD")
    assert caught.value.exit_code == 128
    shown = complaint(b"warning: x\nfatal: cannot reach https://me:secret@example.org/x\n")
    assert shown == "cannot reach https://example.org/x"
    assert complaint(b"") == "it gave no reason"


async def test_a_missing_git_and_a_missing_directory_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match="directory is gone"):
        await Git(tmp_path, cwd=tmp_path / "gone").run("version")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="git was not found"):
        await Git(tmp_path).run("version")


async def test_a_lock_keeps_tasks_and_other_holders_apart(tmp_path: Path) -> None:
    inside = 0

    async def work(lock: SharedLock) -> None:
        nonlocal inside
        async with lock.hold():
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.01)
            inside -= 1

    one, other = SharedLock(tmp_path / "lock"), SharedLock(tmp_path / "lock")
    await asyncio.gather(*(work(lock) for lock in (one, other) for _ in range(5)))
    async with one.hold():
        with pytest.raises(Exception, match="held the repository"):
            async with other.hold(timeout_s=0.1):
                pass
        with pytest.raises(Exception, match="held the repository"):
            async with one.hold(timeout_s=0.1):
                pass
    assert git(tmp_path, "version").startswith("git version")
