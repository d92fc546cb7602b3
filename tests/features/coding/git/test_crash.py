"""Kill -9 in the middle: what is called again ends as if nothing had happened."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from quarterdeck.features.coding.git.mirror import Mirrors
from quarterdeck.features.coding.git.promote import Proposal, promote
from quarterdeck.features.coding.git.rollback import roll_back
from quarterdeck.features.coding.git.sandbox import create
from quarterdeck.features.coding.git.signing import SigningKey
from quarterdeck.features.coding.git.snapshot import snapshot
from tests.features.coding.git.missions import propose, withdrawal
from tests.features.coding.git.repositories import AT, git

Place = Callable[[str], Path]
FIX: dict[str, bytes | None] = {"src/app.py": b"def f():\n    return 2\n"}

SERVER = """
import asyncio, json, os, signal, sys
from datetime import datetime
from pathlib import Path
from quarterdeck.features.coding.git.mirror import Mirrors
from quarterdeck.features.coding.git.promote import Proposal, promote
from quarterdeck.features.coding.git.rollback import Withdrawal, roll_back
from quarterdeck.features.coding.git.signing import SigningKey

given = json.loads(sys.argv[1])

def reached(point):
    if point == given["die_at"]:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    mirror = await Mirrors(Path(given["mirrors"])).open(given["repository"])
    request = given["request"] | {"at": datetime.fromisoformat(given["request"]["at"])}
    key = SigningKey.load_or_create(Path(given["key"]))
    print("ready", flush=True)
    if given["what"] == "promote":
        await promote(mirror, Proposal(**request), key=key, reached=reached)
    else:
        await roll_back(mirror, Withdrawal(**request), key=key, reached=reached)

asyncio.run(main())
"""


def start(
    tmp_path: Path, repository: Path, what: str, request: object, die_at: str
) -> subprocess.Popen[bytes]:
    given = {
        "mirrors": str(tmp_path / "mirrors"),
        "repository": str(repository),
        "key": str(tmp_path / "keys" / "signing"),
        "what": what,
        "request": json.loads(json.dumps(asdict(request), default=lambda at: at.isoformat())),  # type: ignore[call-overload] # a dataclass instance
        "die_at": die_at,
    }
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, json.dumps(given)], stdout=subprocess.PIPE
    )


POINTS = ["committed", "pinned", "delivered"]


@pytest.mark.slow
@pytest.mark.req("ORC-11")
@pytest.mark.parametrize("point", POINTS)
async def test_a_promotion_killed_at_a_point_ends_with_one_merge_commit(
    mirrors: Mirrors,
    repository: Path,
    sandboxes: Place,
    key: SigningKey,
    tmp_path: Path,
    point: str,
) -> None:
    mirror = await mirrors.open(str(repository))
    proposal = await propose(mirror, "m1", sandboxes("m1"), FIX)
    with start(tmp_path, repository, "promote", proposal, point) as server:
        assert server.wait(60) == -signal.SIGKILL
    done = await promote(mirror, proposal, key=key)
    check_one_merge(repository, proposal, done.commit)


@pytest.mark.slow
@pytest.mark.req("ORC-11")
@pytest.mark.parametrize("point", POINTS)
async def test_a_rollback_killed_at_a_point_ends_with_one_commit(
    mirrors: Mirrors,
    repository: Path,
    sandboxes: Place,
    key: SigningKey,
    tmp_path: Path,
    point: str,
) -> None:
    mirror = await mirrors.open(str(repository))
    done = await promote(mirror, await propose(mirror, "m1", sandboxes("m1"), FIX), key=key)
    asked = withdrawal(done, "m1")
    with start(tmp_path, repository, "rollback", asked, point) as server:
        assert server.wait(60) == -signal.SIGKILL
    back = await roll_back(mirror, asked, key=key)
    assert git(repository, "rev-parse", "HEAD") == back.commit
    assert git(repository, "log", "--format=%P", "-1") == done.commit
    assert git(repository, "status", "--porcelain") == ""


@pytest.mark.slow
async def test_a_promotion_killed_at_any_time_ends_with_one_merge_commit(
    mirrors: Mirrors, repository: Path, sandboxes: Place, key: SigningKey, tmp_path: Path
) -> None:
    chance = random.Random(7)
    for number in range(6):
        mirror = await mirrors.open(str(repository))
        name = f"m{number}"
        proposal = await propose(mirror, name, sandboxes(name), {name: name.encode()})
        with start(tmp_path, repository, "promote", proposal, "never") as server:
            assert server.stdout is not None
            server.stdout.readline()
            time.sleep(chance.uniform(0, 0.2))  # noqa: ASYNC251 - the loop has nothing else to do
            server.kill()
            server.wait(60)
        time.sleep(0.1)  # noqa: ASYNC251 - git processes of the killed server come to their end
        done = await promote(mirror, proposal, key=key)
        check_one_merge(repository, proposal, done.commit, merges=number + 1)


def check_one_merge(repository: Path, proposal: Proposal, commit: str, merges: int = 1) -> None:
    assert git(repository, "rev-parse", "HEAD") == commit
    parents = f"{proposal.expected_target} {proposal.tip}"
    assert git(repository, "log", "-1", "--format=%P") == parents
    assert git(repository, "rev-list", "--merges", "--count", "HEAD") == str(merges)
    assert git(repository, "status", "--porcelain") == ""


async def test_a_sandbox_left_half_made_is_made_anew(
    mirrors: Mirrors, repository: Path, sandboxes: Place
) -> None:
    mirror = await mirrors.open(str(repository))
    base = (await mirror.branch()).tip
    unfinished = sandboxes(".unfinished") / "m1"
    unfinished.mkdir(parents=True)
    (unfinished / "half").write_text("x")
    await mirror.pin("m1", base)
    await mirror.set_ref("refs/heads/mission-m1", base, "")
    sandbox = await create(mirror, "m1", base, sandboxes("m1"))
    assert not (sandbox.path / "half").exists()
    assert not (await snapshot(sandbox, "Nothing", at=AT)).changed
