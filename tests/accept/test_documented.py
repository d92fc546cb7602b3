"""The documented calls, files and events, by curl against a real server process (DOC-1, DOC-2)."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from quarterdeck.llm.scripted import ScriptedServer
from tests.accept.building import (
    FIXED,
    WITH_PYTEST,
    mentors,
    model_server,
    repository,
    show,
    thinking,
    tip,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PAGE = Path(__file__).parents[2] / "docs/howto/missions.md"
PROGRAM = Path(sys.executable).with_name("quarterdeck")
LINE = re.compile(r"^curl .*$", re.MULTILINE)


@dataclass
class Server:
    """A running `quarterdeck serve` and what to ask it with."""

    url: str
    token: str
    data: Path
    repo: Path

    def curl(self, line: str) -> Any:
        """Run a line of the page; the JSON of the answer."""
        known = {"URL": self.url, "TOKEN": self.token, "REPO": str(self.repo)}
        done = subprocess.run(
            ["/bin/sh", "-euc", line], env=os.environ | known, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Any call: its status and JSON."""
        words = ["curl", "-s", "-w", "\n%{http_code} %{content_type}", "-X", method]
        headers = {"Authorization": f"Bearer {self.token}", **headers}
        words += [w for name, value in headers.items() for w in ("-H", f"{name}: {value}")]
        if body is not None:
            words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        done = subprocess.run([*words, self.url + path], capture_output=True, check=True, text=True)
        text, _, last = done.stdout.rpartition("\n")
        status, kind = last.split(" ", 1)
        if int(status) >= 400:
            assert kind == "application/problem+json"
        return int(status), json.loads(text)

    def learned(self, path: str) -> Any:
        return json.loads((self.data / "storage/memory/learning" / path).read_bytes())


@pytest.fixture
def server(tmp_path: Path, data_dir: Path) -> Iterator[Server]:
    models = ["qwen2.5-coder:7b", "llama3.2:3b", "mistral:7b"]
    with ScriptedServer({"models": models, "rules": thinking()}) as scripted:
        settings = {
            "model_servers": [model_server("ollama", scripted.url)],
            "mentors": mentors("qwen2.5-coder", "llama3.2", "mistral"),
        }
        (data_dir / "settings.yaml").write_text(yaml.safe_dump(settings))
        command = [PROGRAM, "serve", "--port", "0", "--json"]
        process = subprocess.Popen([*command, "--data", str(data_dir)], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            repo = repository(tmp_path / "repo", WITH_PYTEST)
            yield Server(said["url"], said["token"], data_dir, repo)
        finally:
            process.terminate()
            process.communicate(timeout=30)
        assert process.returncode == 0


def page_lines() -> list[str]:
    return LINE.findall(PAGE.read_text("utf-8"))


@pytest.mark.req("DOC-1", "DOC-2", "ORC-1", "ORC-12", "ORC-13")
def test_the_page_works_as_it_stands(server: Server):
    submit, status, active, approve, promote = page_lines()

    submitted = server.curl(submit)
    assert submitted["status"] == "success"
    assert submitted["mission_id"] == "fix-add"
    result = submitted["execution_result"]
    assert result["status"] == "awaiting_implementation_approval"
    phases = ["definition", "mentor_consultation", "planning", "sandbox_creation"]
    assert result["phases"][:4] == [{"phase": p, "status": "completed"} for p in phases]

    shown = server.curl(status)
    assert shown["execution_result"] == result
    assert shown["mentors"]["consensus"]["approach"] == "add_code"
    assert "average_confidence" in shown["mentors"]
    assert [p["name"] for p in shown["plan"]["phases"]] == [
        "setup",
        "implementation",
        "testing",
        "verification",
    ]
    sandbox = {"path": str(server.data / "sandbox/fix-add"), "branch": "mission-fix-add"}
    assert shown["sandbox"] == sandbox
    assert [c["id"] for c in shown["awaiting"][0]["choices"]] == ["approve", "continue", "reject"]

    (listed,) = server.curl(active)["active"]
    assert listed == {
        "mission_id": "fix-add",
        "status": "awaiting_implementation_approval",
        "phase": "implementation",
        "test_status": None,
        **sandbox,
    }

    assert server.curl(approve)["outputs"]["verify"]["passed"] is True
    assert server.curl(active)["active"][0]["test_status"] == "passed"
    assert server.curl(status)["execution_result"]["status"] == "awaiting_promotion_approval"

    promoted = server.curl(promote)
    assert promoted["status"] == "success"
    record = promoted["promotion_record"]
    assert record["commit"] == tip(server.repo)
    assert show(server.repo, "calc.py") == FIXED.strip()
    assert server.curl(active) == {"active": []}
    server.call("GET", "/api/missions/fix-add?wait_s=30")

    _check_problems(server)
    _check_files(server, record)
    _check_events(server)
    _check_command_line(server)


def _check_problems(server: Server) -> None:
    code, problem = server.call("GET", "/api/missions/orchestrate/status/nobody")
    assert (code, problem["status"], problem["title"]) == (404, 404, "Not found")
    code, problem = server.call("POST", "/api/missions/orchestrate/promote/nobody")
    assert code == 404
    body = {"brief": "again", "mission_id": "fix-add"}
    code, problem = server.call("POST", "/api/missions/orchestrate/submit", body)
    assert (code, problem["where"]) == (409, "mission_id")
    assert problem["type"] == "urn:quarterdeck:problem:conflict"
    code, problem = server.call("POST", "/api/missions/orchestrate/submit", {"brief": " "})
    assert code == 422
    code, problem = server.call(
        "GET", "/api/missions/orchestrate/active", Authorization="Bearer wrong"
    )
    assert (code, problem["where"]) == (401, "Authorization")


def _check_files(server: Server, record: dict[str, Any]) -> None:
    root = server.data / "storage/memory/learning"
    found = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    assert found == {
        "mission_briefs/fix-add/brief_fix-add.json",
        "mission_briefs/fix-add/plan/implementation_plan.json",
        "mission_briefs/fix-add/execution_log/execution_log.json",
        "mission_briefs/fix-add/promotion/promotion_record.json",
        "mission_briefs/fix-add/lesson/lesson.json",
        "mentors/fix-add/qwen2.5-coder_response.json",
        "mentors/fix-add/llama3.2_response.json",
        "mentors/fix-add/mistral_response.json",
        "mentors/fix-add/summary/roundtable_summary.json",
        "prototypes/fix-add/app_v1.zip",
        "prototypes/fix-add/final_build.zip",
        "test_results/fix-add/test_execution.json",
    }
    brief = server.learned("mission_briefs/fix-add/brief_fix-add.json")
    assert brief["is_standard_training"] is True
    assert brief["constraints"] == {"urgency": "high"}
    plan = server.learned("mission_briefs/fix-add/plan/implementation_plan.json")
    assert set(plan) >= {"phases", "technical_approach", "dependencies"}
    assert set(plan["phases"][0]) >= {"name", "description", "estimated_time", "tasks"}
    assert server.learned("mission_briefs/fix-add/promotion/promotion_record.json") == record
    log = server.learned("mission_briefs/fix-add/execution_log/execution_log.json")
    assert "mission.promoted" in [event["type"] for event in log["events"]]
    tests = server.learned("test_results/fix-add/test_execution.json")
    assert (tests["passed"], tests["counts"]["total"]) == (True, 2)
    build = zipfile.ZipFile(io.BytesIO((root / "prototypes/fix-add/final_build.zip").read_bytes()))
    assert build.read("calc.py").decode() == FIXED


def _check_events(server: Server) -> None:
    events = server.call("GET", "/api/missions/fix-add/events")[1]["events"]
    documented = [
        (e["type"], e["data"].get("phase"))
        for e in events
        if e["type"].startswith(("mission.phase", "mentor.", "mission.notification"))
        or e["type"] in {"mission.orchestration.started", "mission.promoted"}
    ]
    assert documented == [
        ("mission.orchestration.started", None),
        ("mission.phase.completed", "definition"),
        ("mentor.roundtable.started", None),
        ("mentor.roundtable.completed", None),
        ("mission.phase.completed", "mentor_consultation"),
        ("mission.phase.completed", "planning"),
        ("mission.phase.completed", "sandbox_creation"),
        ("mission.phase.completed", "implementation"),
        ("mission.phase.completed", "testing"),
        ("mission.notification.sent", None),
        ("mission.promoted", None),
    ]
    told = next(e["data"] for e in events if e["type"] == "mission.notification.sent")
    assert told["mission_id"] == "fix-add"
    assert told["tests_passed"] is True
    assert told["artifacts_available"] is True
    assert "fix-add" in told["message"]
    paths = [e["data"]["path"] for e in events if e["type"] == "learning.artifact.stored"]
    for name in ("qwen2.5-coder", "llama3.2", "mistral"):
        assert f"mentors/fix-add/{name}_response.json" in paths
    assert "mission_briefs/fix-add/plan/implementation_plan.json" in paths
    assert "mission_briefs/fix-add/promotion/promotion_record.json" in paths


def _check_command_line(server: Server) -> None:
    done = subprocess.run(
        [PROGRAM, "mission", "list", "--json", "--data", server.data],
        capture_output=True,
        check=True,
    )
    (listed,) = json.loads(done.stdout)["missions"]
    assert (listed["id"], listed["outcome"]) == ("fix-add", "promoted")
