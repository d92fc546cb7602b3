"""Whole installations with scripted models, repositories to work on, and ways to look at them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson

from quarterdeck.app import Orchestrator
from quarterdeck.core.mission import TaskKind
from quarterdeck.features.coding.implementers import scripted_acp
from quarterdeck.features.coding.implementers.scripted_acp import argv_of
from quarterdeck.settings import Settings, load_settings
from tests.features.coding.git.repositories import commit, git, make_repository

__all__ = ["commit", "git"]

Key = tuple[str, str]
Files = Mapping[str, str]

CALC = '''"""A calculator."""


def add(a, b):
    return a - b


def double(a):
    return 2 * a
'''
FIXED = CALC.replace("a - b", "a + b")
TESTS = """from calc import add, double


def test_add():
    assert add(2, 3) == 5


def test_double():
    assert double(2) == 4
"""
# Runs the tests as pytest would, in a tenth of its time: most of these missions are not about it.
RUNNER = """import pathlib, sys
from xml.sax.saxutils import quoteattr
sys.path.insert(0, ".")
sys.dont_write_bytecode = True
cases = []
for file in sorted(pathlib.Path("tests").glob("test_*.py")):
    names = {}
    try:
        exec(compile(file.read_text(), str(file), "exec"), names)
    except Exception as error:
        cases.append((file, file.stem, repr(error)))
    for name in [name for name in names if name.startswith("test_")]:
        try:
            names[name]()
            cases.append((file, name, None))
        except Exception as error:
            cases.append((file, name, repr(error)))
lines = [
    f'<testcase classname="tests.{file.stem}" name="{name}" file="{file}">'
    + (f"<failure message={quoteattr(said)}/>" if said else "") + "</testcase>"
    for file, name, said in cases
]
pathlib.Path(sys.argv[1]).write_text(f"<testsuite>{''.join(lines)}</testsuite>")
sys.exit(any(said for _, _, said in cases))
"""
QUICK = {
    "ecosystem": "python",
    "test": [sys.executable, "-I", "-S", "tests/run.py", "{report}"],
    "report": {"format": "junit"},
    "timeout_s": 60,
}
PROJECT: Files = {
    "calc.py": CALC,
    "tests/test_calc.py": TESTS,
    "tests/run.py": RUNNER,
    "quarterdeck.yaml": json.dumps(QUICK),
}
"""A small project whose `add` subtracts; a test knows."""
WITH_PYTEST: Files = {
    "calc.py": CALC,
    "tests/test_calc.py": TESTS,
    "pytest.ini": "[pytest]\npythonpath = .\n",
}
"""The same project, tested by pytest as it is found."""
SOUND: Files = {**WITH_PYTEST, "calc.py": FIXED}
"""The same without a bug."""


def repository(path: Path, files: Files = PROJECT) -> Path:
    """A git repository on `main` with one commit."""
    return make_repository(path, {name: text.encode() for name, text in files.items()})


def settings_for(data_dir: Path, **sections: Any) -> Settings:
    """Settings of an installation without any model server, changed by `sections`."""
    return load_settings({"data_dir": data_dir, "model_servers": [], **sections}, environment={})


@asynccontextmanager
async def installation(data_dir: Path, **sections: Any) -> AsyncIterator[Orchestrator]:
    """An active installation; `sections` are settings."""
    orchestrator = Orchestrator(settings_for(data_dir, **sections))
    await orchestrator.activate()
    try:
        yield orchestrator
    finally:
        await orchestrator.close()


@asynccontextmanager
async def over_http(orchestrator: Orchestrator) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with the installation's token, inside this process."""
    transport = httpx2.ASGITransport(app=orchestrator.asgi())
    headers = {"Authorization": f"Bearer {orchestrator.token}"}
    async with httpx2.AsyncClient(
        base_url="http://127.0.0.1", headers=headers, transport=transport, timeout=90
    ) as client:
        yield client


def writing(*files: tuple[str, str]) -> dict[str, Any]:
    """The mission's part that has a command write these files into the sandbox."""
    program = "import pathlib, sys\n" + "".join(
        f"p = pathlib.Path({name!r}); p.parent.mkdir(parents=True, exist_ok=True); "
        f"p.write_text({text!r})\n"
        for name, text in files
    )
    return running(program)


def running(program: str) -> dict[str, Any]:
    """The mission's part that has a Python program change the sandbox."""
    argv = [sys.executable, "-I", "-S", "-c", program]
    return {"implementer": "command", "implementer_options": {"argv": argv}}


def acp(place: Path, *edits: tuple[str, str], scenario: str = "fix") -> dict[str, Any]:
    """The mission's part that has the scripted agent of the Agent Client Protocol write files.

    The installation has to let agents read `place` and `AGENT`.
    """
    given = {
        "scenario": scenario,
        "edits": [{"path": name, "content": text} for name, text in edits],
    }
    place.mkdir(exist_ok=True)
    script = place / "script.json"
    script.write_text(json.dumps(given))
    return {"implementer": "acp", "implementer_options": {"argv": argv_of(script)}}


AGENT = Path(scripted_acp.__file__).parent


def opinion(kind: str, text: str) -> dict[str, Any]:
    """A mentor's answer that proposes one approach."""
    return {
        "root_cause": {"kind": "logic", "text": "Something is missing."},
        "approaches": [{"kind": kind, "text": text}],
        "risk": "low",
        "files": ["calc.py"],
        "tests": ["test_new"],
        "abstain": False,
    }


PLAN = {
    "technical_approach": "Write a function and its test.",
    **{
        phase: [{"id": f"t{n}", "description": f"Do the {phase}.", "estimate_min": 5}]
        for n, phase in enumerate(("setup", "implementation", "testing", "verification"))
    },
}
CODER = "You change the source code"
PLANNER = "You write the work plan"
MENTOR = "You are one of several independent reviewers"


def thinking(*rules: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules of a model that gives an opinion and a plan, after `rules`."""
    return [
        *map(dict, rules),
        {"where": "system", "match": PLANNER, "json": PLAN},
        {"where": "system", "match": MENTOR, "json": opinion("add_code", "Add a function.")},
    ]


def coding(match: str, *files: tuple[str, str], **fields: Any) -> dict[str, Any]:
    """A rule: whoever is asked to write code for a brief with `match` answers these files."""
    answer = {
        "summary": "Written.",
        "files": [{"path": name, "content": text} for name, text in files],
        "done": True,
    }
    # The brief is part of the last message, whose other parts would match words of the system.
    return {"match": rf"(?s)## Brief\n.*{match}.*## Files", "json": answer, **fields}


def model_server(name: str, url: str, **fields: Any) -> dict[str, Any]:
    """The settings of a scripted server."""
    return {"name": name, "kind": "ollama", "base_url": url, **fields}


def mentors(*models: str, **fields: Any) -> dict[str, Any]:
    """Settings that ask these models about everything, once each."""
    table = {kind.value: list(models) for kind in TaskKind}
    return {"table": table, "samples": 1, "mentor_timeout_s": 20, **fields}


def learning(orchestrator: Orchestrator) -> Path:
    """Where the learning memory is (DOC-2)."""
    return orchestrator.directory.learning


def stored(orchestrator: Orchestrator, path: str) -> Any:
    """A JSON file of the learning memory."""
    return orjson.loads((learning(orchestrator) / path).read_bytes())


async def events_of(orchestrator: Orchestrator, mission: str) -> list[dict[str, Any]]:
    """The mission's events as (type, step, data)."""
    found = await orchestrator.engine.events(("default", mission))
    return [{"type": e.event.type.value, "step": e.event.step, "data": e.event.data} for e in found]


def show(path: Path, name: str, ref: str = "main") -> str:
    """A file as a branch of a repository has it."""
    return git(path, "show", f"{ref}:{name}")


def tip(path: Path, ref: str = "main") -> str:
    """The commit of a branch."""
    return git(path, "rev-parse", ref)


async def until(condition: Any, *, within_s: float = 20.0) -> None:
    """Wait until an async condition holds."""
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.02)


def steps_named(result: Mapping[str, Any], kind: str) -> Sequence[str]:
    """The finished steps of a kind, in order."""
    return [s for s in result["outputs"] if s == kind or s.startswith(f"{kind}_")]
