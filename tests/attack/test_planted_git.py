"""Git planted by an agent or a target: no server operation runs any of it (ORC-6)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.features.coding.git.diff import diff
from quarterdeck.features.coding.git.mirror import Mirrors
from quarterdeck.features.coding.git.promote import promote
from quarterdeck.features.coding.git.rollback import roll_back
from quarterdeck.features.coding.git.runner import GitFailed
from quarterdeck.features.coding.git.sandbox import create, remove, unkept_changes
from quarterdeck.features.coding.git.signing import SigningKey
from quarterdeck.features.coding.git.snapshot import Snapshot, snapshot
from quarterdeck.features.coding.git.tree import checkout_clean, export_zip, restore
from tests.features.coding.git.missions import proposal, withdrawal
from tests.features.coding.git.repositories import AT, commit, git, make_repository

HOOKS = [
    "applypatch-msg",
    "commit-msg",
    "fsmonitor-watchman",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-receive",
    "post-update",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-receive",
    "prepare-commit-msg",
    "proc-receive",
    "push-to-checkout",
    "reference-transaction",
    "update",
]


@dataclass(frozen=True)
class Trap:
    """A script that leaves a mark when anything runs it, and passes its input on."""

    script: Path
    mark: Path

    @property
    def ran(self) -> list[str]:
        return self.mark.read_text().split("\n") if self.mark.exists() else []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "target", {"README.md": b"# Sample\n", "src/app.py": b"1\n"})


@pytest.fixture
def mirrors(tmp_path: Path) -> Mirrors:
    return Mirrors(tmp_path / "mirrors")


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    script, mark = tmp_path / "evil.sh", tmp_path / "mark"
    script.write_text(f'#!/bin/sh\necho "$0 $*" >> {mark}\ncat 2>/dev/null\nexit 0\n')
    script.chmod(0o755)
    return Trap(script, mark)


def hooks(place: Path, trap: Trap) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name in HOOKS:
        (place / name).unlink(missing_ok=True)
        (place / name).symlink_to(trap.script)


def configured(tree: Path, *settings: str) -> None:
    for setting in settings:
        git(tree, "config", "--add", *setting.split("=", 1))


def plant_hooks(tree: Path, trap: Trap) -> None:
    hooks(tree / ".git/hooks", trap)


def plant_fsmonitor(tree: Path, trap: Trap) -> None:
    configured(tree, f"core.fsmonitor={trap.script}")


def plant_worktree_config(tree: Path, trap: Trap) -> None:
    configured(tree, "extensions.worktreeConfig=true")
    (tree / ".git/config.worktree").write_text(f"[core]\n\tfsmonitor = {trap.script}\n")


def plant_replaced_git(tree: Path, trap: Trap) -> None:
    configured(tree, f"core.fsmonitor={trap.script}")
    (tree / ".git").rename(tree / "tools")
    (tree / ".git").write_text("gitdir: tools\n")


def plant_filter(tree: Path, trap: Trap) -> None:
    (tree / ".gitattributes").write_text("* filter=x\n")
    configured(tree, f"filter.x.clean={trap.script}", f"filter.x.smudge={trap.script}")


def plant_filter_process(tree: Path, trap: Trap) -> None:
    (tree / ".gitattributes").write_text("* filter=x\n")
    configured(tree, f"filter.x.process={trap.script}")


def plant_external_diff(tree: Path, trap: Trap) -> None:
    configured(tree, f"diff.external={trap.script}")


def plant_textconv(tree: Path, trap: Trap) -> None:
    (tree / ".gitattributes").write_text("* diff=x\n")
    configured(tree, f"diff.x.textconv={trap.script}", f"diff.x.command={trap.script}")


def plant_hooks_path(tree: Path, trap: Trap) -> None:
    hooks(tree / ".git/more", trap)
    configured(tree, "core.hooksPath=.git/more")


def plant_gpg(tree: Path, trap: Trap) -> None:
    configured(tree, f"gpg.program={trap.script}", "commit.gpgSign=true", "log.showSignature=true")


def plant_include(tree: Path, trap: Trap) -> None:
    (tree / "settings.inc").write_text(f"[core]\n\tfsmonitor = {trap.script}\n")
    configured(tree, "include.path=../settings.inc")


def plant_commondir(tree: Path, trap: Trap) -> None:
    git(tree, "init", "-q", "--bare", "shared")
    git(tree / "shared", "config", "core.fsmonitor", str(trap.script))
    hooks(tree / "shared/hooks", trap)
    (tree / ".git/commondir").write_text("../shared\n")


def plant_merge_driver(tree: Path, trap: Trap) -> None:
    (tree / ".gitattributes").write_text("* merge=x\n")
    configured(tree, f"merge.x.driver={trap.script} %A", "merge.default=x")


def plant_nested_repository(tree: Path, trap: Trap) -> None:
    make_repository(tree / "lib", {"a": b"a"})
    configured(tree / "lib", f"core.fsmonitor={trap.script}")
    hooks(tree / "lib/.git/hooks", trap)
    (tree / ".gitmodules").write_text(
        f'[submodule "lib"]\n\tpath = lib\n\turl = ./lib\n\tupdate = !{trap.script}\n'
    )


ATTACKS = [
    plant_hooks,
    plant_fsmonitor,
    plant_worktree_config,
    plant_replaced_git,
    plant_filter,
    plant_filter_process,
    plant_external_diff,
    plant_textconv,
    plant_hooks_path,
    plant_gpg,
    plant_include,
    plant_commondir,
    plant_merge_driver,
    plant_nested_repository,
]


def use_carelessly(tree: Path) -> None:
    """What a person or a naive tool does in a tree."""
    for arguments in (
        ["status"],
        ["add", "-A"],
        ["commit", "-m", "x", "--allow-empty"],
        ["diff", "HEAD~1"],
        ["checkout", "-b", "other"],
        ["merge", "HEAD"],
    ):
        git(tree, *arguments, check=False)


async def use_by_server(
    mirrors: Mirrors, target: Path, place: Path, plant: Callable[[Path], None], tmp_path: Path
) -> None:
    """Every operation of the server on a sandbox in which `plant` left something."""
    mirror = await mirrors.open(str(target))
    base = (await mirror.branch("main")).tip
    sandbox = await create(mirror, "m1", base, place, agent_git=True)
    (place / "src/app.py").write_text("changed\n")
    plant(place)
    await unkept_changes(sandbox)
    kept: Snapshot | None = None
    with contextlib.suppress(QuarterdeckError):  # refusing is right as well
        kept = await snapshot(sandbox, "Planted", at=AT)
    tip = kept.commit if kept else base
    await diff(mirror, base, tip)
    await export_zip(mirror, tip, tmp_path / "all.zip")
    await checkout_clean(mirror, tip, tmp_path / "clean")
    await restore(mirror, base, tmp_path / "clean", ["**"])
    await restore(mirror, base, place, ["src/**"])
    moved = commit(target, {"theirs": b"x"}, "Theirs")
    key = SigningKey.load_or_create(tmp_path / "key")
    with contextlib.suppress(QuarterdeckError):
        done = await promote(mirror, proposal("m1", "main", moved, tip), key=key)
        await roll_back(mirror, withdrawal(done, "m1"), key=key)
    await mirror.maintain()
    await remove(sandbox, discard=True)


@pytest.mark.req("ORC-6")
@pytest.mark.parametrize("plant", ATTACKS, ids=lambda plant: plant.__name__)
async def test_nothing_planted_in_a_sandbox_runs(
    mirrors: Mirrors,
    repository: Path,
    tmp_path: Path,
    trap: Trap,
    plant: Callable[[Path, Trap], None],
) -> None:
    (tmp_path / "sandbox").mkdir()
    await use_by_server(
        mirrors, repository, tmp_path / "sandbox/m1", lambda tree: plant(tree, trap), tmp_path
    )
    assert trap.ran == []


@pytest.mark.slow
def test_the_traps_are_real(repository: Path, tmp_path: Path) -> None:
    """Careless use runs most of what the server never ran, so the tests above test something."""
    fired = 0
    for number, plant in enumerate(ATTACKS):
        tree = tmp_path / f"tree{number}"
        git(tmp_path, "clone", "-q", str(repository), str(tree))
        script, mark = tmp_path / f"evil{number}.sh", tmp_path / f"mark{number}"
        script.write_text(f"#!/bin/sh\necho x >> {mark}\ncat 2>/dev/null\n")
        script.chmod(0o755)
        plant(tree, Trap(script, mark))
        (tree / "src/app.py").write_text("changed\n")
        use_carelessly(tree)
        fired += mark.exists()
    assert fired >= 11


def booby_trap(target: Path, trap: Trap) -> None:
    """A target whose own git directory starts programs at every opportunity."""
    evil = str(trap.script)
    commit(target, {".gitattributes": b"* filter=x diff=x merge=x\n"}, "Attributes")
    hooks(target / ".git/hooks", trap)
    hooks(target / ".git/more", trap)
    configured(
        target,
        f"core.fsmonitor={evil}",
        "core.hooksPath=.git/more",
        f"core.sshCommand={evil}",
        f"core.gitProxy={evil}",
        f"core.alternateRefsCommand={evil}",
        f"core.editor={evil}",
        f"core.pager={evil}",
        f"credential.helper=!{evil}",
        f"gpg.program={evil}",
        f"diff.external={evil}",
        f"diff.x.textconv={evil}",
        f"filter.x.clean={evil}",
        f"filter.x.smudge={evil}",
        "filter.x.required=true",
        f"merge.x.driver={evil}",
        f"uploadpack.packObjectsHook={evil}",
        f"remote.origin.uploadpack={evil}",
        "submodule.recurse=true",
        "gc.auto=1",
        "receive.autogc=true",
        f"url.ext::{evil} .insteadOf=/",
    )
    git(target, "config", "filter.we=ird.na me.process", evil)
    other = make_repository(target.parent / "alternate", {"z": b"z"})
    (target / ".git/objects/info").mkdir(exist_ok=True)
    (target / ".git/objects/info/alternates").write_text(f"{other}/.git/objects\n")


@pytest.mark.req("ORC-6", "ORC-11")
async def test_a_hostile_target_runs_nothing_and_is_still_served(
    mirrors: Mirrors, repository: Path, tmp_path: Path, trap: Trap
) -> None:
    booby_trap(repository, trap)
    trap.mark.unlink(missing_ok=True)
    mirror = await mirrors.open(str(repository))
    base = (await mirror.branch()).tip
    (tmp_path / "sandbox").mkdir()
    sandbox = await create(mirror, "m1", base, tmp_path / "sandbox/m1")
    (sandbox.path / "src/app.py").write_text("changed\n")
    kept = await snapshot(sandbox, "Change", at=AT)
    key = SigningKey.load_or_create(tmp_path / "key")
    done = await promote(mirror, proposal("m1", "main", base, kept.commit), key=key)
    assert (repository / "src/app.py").read_text() == "changed\n"
    await roll_back(mirror, withdrawal(done, "m1"), key=key)
    assert (repository / "src/app.py").read_text() != "changed\n"
    assert trap.ran == []
    git(repository, "status")
    assert trap.ran


async def test_a_filter_that_is_configured_after_opening_does_not_run_either(
    mirrors: Mirrors, repository: Path, tmp_path: Path, trap: Trap
) -> None:
    mirror = await mirrors.open(str(repository))
    base = (await mirror.branch()).tip
    sandbox = await create(mirror, "m1", base, tmp_path / "m1")
    (sandbox.path / ".gitattributes").write_text("* filter=late\n")
    (sandbox.path / "new").write_text("x")
    kept = await snapshot(sandbox, "Change", at=AT)
    configured(repository, f"filter.late.smudge={trap.script}", f"filter.late.clean={trap.script}")
    key = SigningKey.load_or_create(tmp_path / "key")
    await promote(mirror, proposal("m1", "main", base, kept.commit), key=key)
    assert (repository / "new").read_text() == "x"
    assert trap.ran == []


async def test_a_target_that_hands_its_branches_to_a_hook_is_refused(
    mirrors: Mirrors, repository: Path, tmp_path: Path, trap: Trap
) -> None:
    hooks(repository / ".git/hooks", trap)
    configured(repository, "receive.procReceiveRefs=refs/heads")
    mirror = await mirrors.open(str(repository))
    base = (await mirror.branch()).tip
    sandbox = await create(mirror, "m1", base, tmp_path / "m1")
    (sandbox.path / "new").write_text("x")
    kept = await snapshot(sandbox, "Change", at=AT)
    key = SigningKey.load_or_create(tmp_path / "key")
    with pytest.raises(QuarterdeckError, match="proc-receive"):
        await promote(mirror, proposal("m1", "main", base, kept.commit), key=key)
    assert not (repository / "new").exists()
    assert trap.ran == []


async def test_a_checked_out_submodule_of_the_target_runs_nothing(
    mirrors: Mirrors, repository: Path, tmp_path: Path, trap: Trap
) -> None:
    inner = make_repository(repository / "lib", {"a": b"a"})
    git(repository, "add", "lib")
    git(repository, "commit", "-q", "-m", "Add a submodule")
    configured(inner, f"core.fsmonitor={trap.script}")
    hooks(inner / ".git/hooks", trap)
    configured(repository, "submodule.recurse=true", "status.submoduleSummary=true")
    mirror = await mirrors.open(str(repository))
    base = (await mirror.branch()).tip
    sandbox = await create(mirror, "m1", base, tmp_path / "m1")
    (sandbox.path / "new").write_text("x")
    kept = await snapshot(sandbox, "Change", at=AT)
    key = SigningKey.load_or_create(tmp_path / "key")
    await promote(mirror, proposal("m1", "main", base, kept.commit), key=key)
    assert (repository / "new").exists()
    assert (inner / "a").exists()
    assert trap.ran == []


async def test_a_partial_clone_does_not_fetch_what_it_lacks(
    mirrors: Mirrors, repository: Path, tmp_path: Path, trap: Trap
) -> None:
    blob = git(repository, "rev-parse", "HEAD:src/app.py")
    (repository / ".git/objects" / blob[:2] / blob[2:]).unlink()
    configured(
        repository,
        "core.repositoryFormatVersion=1",
        "extensions.partialClone=origin",
        "remote.origin.promisor=true",
        f"remote.origin.url={tmp_path}",
        f"remote.origin.uploadpack={trap.script}",
    )
    with pytest.raises(GitFailed):
        await mirrors.open(str(repository))
    assert trap.ran == []


async def test_a_work_tree_that_is_not_the_targets_is_not_written(
    mirrors: Mirrors, repository: Path, tmp_path: Path
) -> None:
    victim = make_repository(tmp_path / "victim", {"README.md": b"victim\n"})
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    (repository / ".git/worktrees/side/gitdir").write_text(f"{victim}/.git\n")
    mirror = await mirrors.open(str(repository))
    base = (await mirror.branch("side")).tip
    sandbox = await create(mirror, "m1", base, tmp_path / "m1")
    (sandbox.path / "README.md").write_text("changed\n")
    kept = await snapshot(sandbox, "Change", at=AT)
    key = SigningKey.load_or_create(tmp_path / "key")
    with pytest.raises(QuarterdeckError, match="not a work tree"):
        await promote(mirror, proposal("m1", "side", base, kept.commit), key=key)
    assert (victim / "README.md").read_bytes() == b"victim\n"
