"""Bad input of every kind: a clear error where it came from, and nothing outside its sandbox changed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from quarterdeck.server.gate import BODY_BYTES_MAX
from tests.accept.building import (
    FIXED,
    PROJECT,
    QUICK,
    commit,
    git,
    installation,
    over_http,
    repository,
    show,
    tip,
    writing,
)

BRIEF = "add gives wrong sums; make it right."
DEEP: Any = {}
for _ in range(40):
    DEEP = {"deeper": DEEP}


@pytest.mark.req("ORC-1")
@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ({}, 422, "brief"),
        ({"brief": ""}, 422, "brief"),
        ({"brief": " \n\t "}, 422, "brief"),
        ({"brief": "a\x00b"}, 422, "brief"),
        ({"brief": "x" * 1_000_000}, 422, "brief"),
        ({"brief": ["no", "text"]}, 422, "brief"),
        ({"brief": BRIEF, "constraints": ["a list"]}, 422, "constraints"),
        ({"brief": BRIEF, "constraints": "text"}, 422, "constraints"),
        ({"brief": BRIEF, "constraints": DEEP}, 422, "constraints"),
        ({"brief": BRIEF, "constraints": {"n": 10**400}}, 422, "constraints"),
        ({"brief": BRIEF, "constraints": {"long": "x" * 300_000}}, 413, "constraints"),
        ({"brief": BRIEF, "implementer_options": {"deep": DEEP}}, 422, "implementer_options"),
        ({"brief": BRIEF, "auto_implement": "perhaps"}, 422, "auto_implement"),
        ({"brief": BRIEF, "mission_id": "../../etc"}, 422, "mission_id"),
        ({"brief": BRIEF, "mission_id": "UPPER"}, 422, "mission_id"),
        ({"brief": BRIEF, "mission_id": "x" * 65}, 422, "mission_id"),
        ({"brief": BRIEF, "mission_id": ""}, 422, "mission_id"),
        ({"brief": BRIEF, "repository": ""}, 422, "repository"),
        ({"brief": BRIEF, "repository": 7}, 422, "repository"),
    ],
)
@pytest.mark.parametrize("path", ["/api/missions", "/api/missions/orchestrate/submit"])
async def test_a_submission_that_does_not_fit_is_refused(
    data_dir: Path, path: str, body: dict[str, Any], status: int, where: str
):
    async with installation(data_dir) as orchestrator, over_http(orchestrator) as client:
        answer = await client.post(path, json=body)

        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert where in answer.json()["where"]
        assert (await client.get("/api/missions")).json()["missions"] == []


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b'"text"', 422),
        (b"\xff\xfe", 422),
        (b'{"brief": "x", "constraints": {"n": NaN}}', 422),
        (b'{"brief": "x", "constraints": {"n": -Infinity}}', 422),
        (b'{"brief": "\\ud800"}', 422),
        (b'{"brief": "x", "constraints": {"\\udfff": 1}}', 422),
        (b'{"brief": "x", "constraints": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422),
        (b'{"brief": "x", "constraints": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001, 422),
        (b" " * (BODY_BYTES_MAX + 1), 413),
    ],
)
async def test_a_body_that_is_no_json_of_ours_is_refused(
    data_dir: Path, content: bytes, status: int
):
    headers = {"Content-Type": "application/json"}
    async with installation(data_dir) as orchestrator, over_http(orchestrator) as client:
        answer = await client.post("/api/missions", content=content, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.json()["detail"]


async def test_answers_and_reruns_are_bounded_like_submissions(tmp_path: Path, data_dir: Path):
    repo = repository(tmp_path / "repo")
    async with installation(data_dir) as orchestrator, over_http(orchestrator) as client:
        await orchestrator.execute_mission(brief=BRIEF, mission_id="m1", repository=str(repo))
        bad: list[tuple[str, Any, int]] = [
            ("answers", {"choice": "approve", "data": {"n": 10**400}}, 422),
            ("answers", {"choice": "approve", "data": {"deep": DEEP}}, 422),
            ("answers", {"choice": "approve", "data": {"long": "x" * 300_000}}, 413),
            ("answers", {"choice": "never offered"}, 409),
            ("rerun", {"constraints": {"n": 10**400}}, 422),
            ("rerun", {"constraints": DEEP}, 422),
            ("rerun", {"implementer_options": {"long": "x" * 300_000}}, 413),
            ("rerun", {"brief": "  "}, 422),
            ("rerun", {"step": "no-such-step"}, 404),
            ("cancel", {"reason": "x" * 5_000}, 422),
        ]
        for door, body, status in bad:
            answer = await client.post(f"/api/missions/m1/{door}", json=body)
            assert answer.status_code == status, (door, answer.text)
        view = (await client.get("/api/missions/m1")).json()
        assert (view["status"], view["brief"]) == ("waiting", BRIEF), "nothing of it has stuck"


async def test_an_id_is_used_once(tmp_path: Path, data_dir: Path):
    repo = repository(tmp_path / "repo")
    body = {"brief": BRIEF, "mission_id": "once", "repository": str(repo)}
    async with installation(data_dir) as orchestrator, over_http(orchestrator) as client:
        answers = await asyncio.gather(*(client.post("/api/missions", json=body) for _ in range(5)))
        assert sorted(a.status_code for a in answers) == [201, 409, 409, 409, 409]


# Repositories


def _missing(path: Path) -> None:
    del path


def _plain(path: Path) -> None:
    path.mkdir()
    (path / "calc.py").write_text(FIXED)


def _file(path: Path) -> None:
    path.write_text("no directory")


def _torn(path: Path) -> None:
    repository(path)
    (path / ".git" / "HEAD").write_text("nonsense\n")


def _elsewhere(path: Path) -> None:
    repository(path)
    git(path, "config", "core.worktree", str(path.parent / "outside"))


@pytest.mark.req("ORC-6")
@pytest.mark.parametrize("make", [_missing, _plain, _file, _torn, _elsewhere])
async def test_what_is_no_repository_ends_the_mission_with_the_reason(
    tmp_path: Path, data_dir: Path, make: Callable[[Path], None]
):
    make(tmp_path / "repo")
    async with installation(data_dir) as orchestrator:
        result = await orchestrator.execute_mission(
            brief=BRIEF, mission_id="m1", repository=str(tmp_path / "repo")
        )

    assert result["status"] == "failed"
    assert "target: repository: " in result["error"]
    assert "repo" in result["error"]


def _bare(path: Path, tmp_path: Path) -> Path:
    return _clone(path, tmp_path, "--bare")


def _shallow(path: Path, tmp_path: Path) -> Path:
    return _clone(path, tmp_path, "--depth=1")


def _clone(path: Path, tmp_path: Path, *options: str) -> Path:
    origin = repository(tmp_path / "origin")
    commit(origin, {"more.txt": b"more\n"}, "Second")
    git(tmp_path, "clone", "-q", *options, f"file://{origin}", str(path))
    return path


def _with_submodule(path: Path, tmp_path: Path) -> Path:
    inner = repository(tmp_path / "inner")
    repository(path)
    git(path, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    git(path, "commit", "-q", "-m", "Add a submodule")
    return path


def _with_links(path: Path, tmp_path: Path) -> Path:
    repository(path)
    (path / "passwd").symlink_to("/etc/passwd")
    (path / "up").symlink_to("../outside")
    commit(path, {}, "Links that leave")
    return path


def _hostile(path: Path, tmp_path: Path) -> Path:
    """Hooks, filters, a file system monitor and an alias that would all leave a trace."""
    repository(path)
    commit(path, {".gitattributes": b"*.py filter=evil diff=evil merge=evil\n"}, "Attributes")
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\necho $0 >> {tmp_path}/outside/sprung\ncat\n")
    trap.chmod(0o755)
    for name in ("pre-receive", "update", "post-receive", "post-checkout", "pre-commit"):
        (path / ".git/hooks").mkdir(exist_ok=True)
        (path / ".git/hooks" / name).symlink_to(trap)
    settings = {
        "filter.evil.clean": trap,
        "filter.evil.smudge": trap,
        "filter.evil.process": trap,
        "diff.evil.textconv": trap,
        "merge.evil.driver": trap,
        "core.fsmonitor": trap,
        "core.sshCommand": trap,
        "core.pager": trap,
        "gpg.program": trap,
        "uploadpack.packObjectsHook": trap,
    }
    for name, value in settings.items():
        git(path, "config", name, str(value))
    return path


@pytest.mark.slow
@pytest.mark.req("ORC-6", "ORC-11")
@pytest.mark.parametrize("make", [_bare, _shallow, _with_submodule, _with_links, _hostile])
async def test_an_unusual_repository_is_served_and_nothing_of_it_runs(
    tmp_path: Path, data_dir: Path, make: Callable[[Path, Path], Path]
):
    outside = tmp_path / "outside"
    outside.mkdir()
    repo = make(tmp_path / "repo", tmp_path)
    async with installation(data_dir) as orchestrator:
        result = await orchestrator.execute_mission(
            brief=BRIEF,
            mission_id="m1",
            repository=str(repo),
            auto_implement=True,
            **writing(("calc.py", FIXED)),
        )
        assert result["status"] == "awaiting_promotion_approval", result
        await orchestrator.promote_sandbox("m1")

    assert show(repo, "calc.py") == FIXED.strip()
    assert list(outside.iterdir()) == []


# Tests that misbehave


def _digest(place: Path) -> str:
    files = sorted(p for p in place.rglob("*") if p.is_file())
    told = [f"{p} {p.stat().st_mode} {p.read_bytes()!r}" for p in files]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


MISCHIEF = {
    "hangs": "import time\nwhile True:\n    time.sleep(1)\n",
    "floods": "import sys\nfor _ in range(1024):\n    sys.stdout.write('x' * 2**20)\n",
    "deletes": "import shutil\nfor place in (OUTSIDE, REPO, '..', '.', '/tmp'):\n"
    "    shutil.rmtree(place, ignore_errors=True)\n",
    "kills": "import os, signal\nfor pid in (os.getppid(), -1, SERVER):\n"
    "    try:\n        os.kill(pid, signal.SIGKILL)\n    except OSError:\n        pass\n",
    "survives": "import os, time\nif os.fork() == 0:\n    os.setsid()\n"
    "    if os.fork() == 0:\n        time.sleep(600)\n    os._exit(0)\n",
    "eats": "block = []\nwhile True:\n    block.append(bytearray(2**26))\n",
    "forks": "import os\nwhile True:\n    os.fork()\n",
    "escapes": "import pathlib\nfor place in (OUTSIDE, REPO, DATA):\n    try:\n"
    "        (pathlib.Path(place) / 'escaped').write_text('!')\n    except OSError:\n        pass\n",
}
"""Each is run when the tests import the product; `add` still is right after it."""


@pytest.mark.slow
@pytest.mark.req("ORC-9")
@pytest.mark.parametrize("name", MISCHIEF)
async def test_a_change_that_misbehaves_harms_nothing(tmp_path: Path, data_dir: Path, name: str):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("mine")
    quick = {**QUICK, "timeout_s": 4}
    repo = repository(tmp_path / "repo", {**PROJECT, "quarterdeck.yaml": json.dumps(quick)})
    before, commit_before = _digest(outside) + _digest(repo), tip(repo)
    places = (
        f"OUTSIDE, REPO, DATA = {str(outside)!r}, {str(repo)!r}, {str(data_dir)!r}\n"
        f"SERVER = {os.getpid()}\n"
    )
    product = f"{places}{MISCHIEF[name]}\n{FIXED}"
    async with installation(data_dir, coding={"rounds_max": 1}) as orchestrator:
        result = await orchestrator.execute_mission(
            brief=BRIEF,
            mission_id="m1",
            repository=str(repo),
            auto_implement=True,
            **writing(("calc.py", product)),
        )

        assert result["status"] in {"awaiting_answer", "awaiting_promotion_approval"}, result
        proof = result["outputs"]["verify"]
        assert proof["passed"] or proof["reasons"][0]["message"]
        if name in {"hangs", "eats", "forks"}:
            assert not proof["passed"]
        assert _digest(outside) + _digest(repo) == before
        assert tip(repo) == commit_before
        assert not (data_dir / "escaped").exists()
        assert _left_behind(data_dir) == []
        health = await orchestrator.health()
        assert health["log"]["degraded"] in {False, None}


def _left_behind(place: Path) -> list[str]:
    """Processes other than ours that work below a place."""
    ours = psutil.Process()
    found: list[str] = []
    for process in psutil.process_iter():
        try:
            inside = process.cwd().startswith(str(place))
            if process.pid != ours.pid and inside and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.req("ORC-6")
async def test_test_commands_that_make_no_sense_are_asked_for_again(tmp_path: Path, data_dir: Path):
    repo = repository(tmp_path / "repo", {"app.lua": "print(1)\n"})
    async with installation(data_dir) as orchestrator:
        result = await orchestrator.execute_mission(
            brief="Print two.",
            mission_id="m1",
            repository=str(repo),
            auto_implement=True,
            **writing(("app.lua", "print(2)\n")),
        )
        assert [c["id"] for c in result["awaiting"][0]["choices"]] == ["state", "reject"]
        for nonsense in ({"test": 7}, {"tset": ["x"]}, {"test": ["true"]}, {}):
            again = await orchestrator.answer_mission("m1", "state", **nonsense)
            assert "cannot be used" in again["awaiting"][0]["question"], again
        unproved = await orchestrator.answer_mission(
            "m1", "state", test=["/bin/false", "{report}"], report={"format": "junit"}
        )
        assert unproved["outputs"]["verify"]["passed"] is False


# A full disk


@pytest.mark.slow
@pytest.mark.req("ORC-1")
@pytest.mark.timeout(120)
def test_a_full_disk_is_said_and_loses_nothing(data_dir: Path, tmp_path: Path):
    repo = repository(tmp_path / "repo")
    (data_dir / "settings.yaml").write_text("model_servers: []\n")
    accepted: list[str] = []
    refused: list[httpx2.Response] = []
    # Nobody may write a file over this size: to the server it is a disk that has filled up.
    with _server(data_dir, file_bytes_max=1_500_000) as client:
        for n in range(30):
            body = {
                "mission_id": f"m{n}",
                "brief": "Fill the disk.",
                "constraints": {"ballast": "x" * 60_000},
                "hold": True,
                "repository": str(repo),
            }
            answer = client.post("/api/missions", json=body, params={"wait_s": 1})
            assert answer.status_code in {201, 503}, answer.text
            (accepted.append(f"m{n}") if answer.status_code == 201 else refused.append(answer))
            if len(refused) == 3:
                break
        assert accepted
        assert refused
        assert all(r.headers["retry-after"] and r.json()["detail"] for r in refused)
        read = client.get(f"/api/missions/{accepted[0]}")
        assert read.status_code == 200, read.text
    with _server(data_dir) as client:
        listed = {m["id"] for m in client.get("/api/missions").json()["missions"]}
        assert listed >= set(accepted)
        for n in range(30):
            known = client.get(f"/api/missions/m{n}").status_code
            assert known == (200 if f"m{n}" in listed else 404)


class _server:
    """A `quarterdeck serve` process, perhaps with a limit on the size of files."""

    def __init__(self, data_dir: Path, file_bytes_max: int | None = None) -> None:
        program = Path(sys.executable).with_name("quarterdeck")
        words = [str(program), "serve", "--json", "--port", "0", "--data", str(data_dir)]

        def limit() -> None:
            if file_bytes_max is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))

        self._process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=limit,  # noqa: PLW1509 - one thread starts it
        )

    def __enter__(self) -> httpx2.Client:
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        headers = {"Authorization": f"Bearer {said['token']}"}
        self._client = httpx2.Client(base_url=said["url"], headers=headers, timeout=60)
        return self._client

    def __exit__(self, *_error: object) -> None:
        self._client.close()
        self._process.kill()
        self._process.communicate()
