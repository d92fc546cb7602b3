"""`quarterdeck demo`: one whole mission on a sample repository, from the brief to a signed commit."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import typer
import yaml
from rich.markup import escape
from rich.panel import Panel
from rich.syntax import Syntax

from quarterdeck.cli.conclude import conclude, say_how_to_go_on
from quarterdeck.cli.connection import Api, connect, starting
from quarterdeck.cli.missions import change_of
from quarterdeck.cli.narrate import Narrator
from quarterdeck.cli.output import (
    ERROR,
    WAITING,
    console,
    is_interactive,
    messages,
    plain,
    print_json,
    print_table,
    say,
)
from quarterdeck.cli.samples import Sample, find_sample, shipped_samples
from quarterdeck.cli.watch import follow
from quarterdeck.core.errors import QuarterdeckError, Refused
from quarterdeck.settings import load_settings
from quarterdeck.storage.artifacts import write_durably

MARK_FILE = "demo.json"
MENTOR_TIMEOUT_S = 20.0
"""The demonstration model's advice is worth nothing, so nobody should wait long for it."""


def show_samples(*, as_json: bool) -> None:
    """List the shipped samples."""
    samples = shipped_samples()
    if as_json:
        listed = [
            {
                "name": s.name,
                "summary": s.summary,
                "implementer": s.implementer,
                "missing": list(s.missing),
            }
            for s in samples
        ]
        print_json({"samples": listed})
        return
    rows = (
        (s.name, f"{s.summary} {_lacking(s)}".strip(), s.implementer, ", ".join(s.needs) or "-")
        for s in samples
    )
    print_table(("SAMPLE", "WHAT HAPPENS", "IMPLEMENTER", "NEEDS"), rows, empty="")


def _lacking(sample: Sample) -> str:
    return f"(cannot run here: {', '.join(sample.missing)} missing)" if sample.missing else ""


async def run_demo(name: str, data: Path | None, *, yes: bool, as_json: bool) -> int:
    """Run a sample mission to its end, or go on with the one that `data` holds.

    Returns the exit code: 0 when it was promoted, 3 when it waits for an answer, else 1.

    Raises:
        NotFound, Refused, Unavailable: no such sample, a directory in use, a program is missing.
    """
    started_s = time.monotonic()
    root = await asyncio.to_thread(_place, data)
    sample = find_sample(await asyncio.to_thread(_claimed, root, name))
    sample.check()
    repository = await asyncio.to_thread(sample.make_repository, root / "repository")
    await asyncio.to_thread(_settle, sample, root / "data")
    async with AsyncExitStack() as stack:
        with starting(quiet=as_json):
            settings = load_settings({"data_dir": root / "data"})
            api = await stack.enter_async_context(connect(settings))
        await stack.enter_async_context(_model_warming_up(api))
        if not as_json:
            _introduce(sample, repository, root)
        view = await _solved(api, sample, repository, yes=yes, quiet=as_json)
        artifacts = (await api.get(f"/api/missions/{view['id']}/artifacts"))["artifacts"]
    result = _result(view, artifacts, time.monotonic() - started_s)
    if as_json:
        if view["status"] == "waiting":
            say_how_to_go_on(view, root, on=messages)
        print_json(result)
    elif view["status"] == "waiting":
        say_how_to_go_on(view, root, on=console)
    else:
        await conclude(view, result, root=root)
    return WAITING if view["status"] == "waiting" else 0 if result["promoted_commit"] else ERROR


def _place(data: Path | None) -> Path:
    return Path(data or tempfile.mkdtemp(prefix="quarterdeck-demo-")).absolute()


def _claimed(root: Path, name: str) -> str:
    """The sample that belongs to this directory: the wanted one when it is fresh.

    Raises:
        Refused: when it holds something else than a demo.
    """
    mark = root / MARK_FILE
    try:
        return str(orjson.loads(mark.read_bytes())["sample"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        raise Refused("This is not what a demo writes.", where=str(mark)) from None
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise Refused(
            "This directory holds something else than a demo.",
            where=str(root),
            hint="Give --data a directory that is empty or not there yet.",
        )
    find_sample(name).check()
    root.mkdir(parents=True, exist_ok=True)
    write_durably(mark, orjson.dumps({"sample": name}))
    return name


def _settle(sample: Sample, data: Path) -> None:
    """Settings beside the data, so that every later command on it works in the same way."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = {"mentors": {"mentor_timeout_s": MENTOR_TIMEOUT_S}, **sample.settings}
    write_durably(data / "settings.yaml", yaml.safe_dump(settings).encode())


@asynccontextmanager
async def _model_warming_up(api: Api) -> AsyncIterator[None]:
    """Start the bundled model while the base is being tested, where it is the only one."""
    task = asyncio.ensure_future(_warm(api))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _warm(api: Api) -> None:
    from quarterdeck.llm.bundled import MODEL

    if api.orchestrator is None:
        return
    with suppress(QuarterdeckError):  # the mentors' step says what is wrong with it
        chats = [one for one in (await api.orchestrator.discovered()).models if not one.embedding]
        if [one.ref for one in chats] == [MODEL]:
            await api.orchestrator.gateway.ready(MODEL)


async def _solved(
    api: Api, sample: Sample, repository: Path | None, *, yes: bool, quiet: bool
) -> dict[str, Any]:
    narrator = Narrator()
    mission = await _mission(api, sample, repository)
    view = await follow(api, mission, quiet=quiet, tell=narrator)
    if view["status"] != "waiting":
        return view
    question = next((q for q in view["awaiting"] if _offers_promotion(q)), None)
    if question is None:
        return view
    if not quiet:
        _show_question(question, await change_of(api, view))
    if not yes and (quiet or not is_interactive()):
        return view
    approved = yes or typer.confirm("Promote it?", default=True, err=True)
    if yes and not quiet:
        say("[dim]Promote it? yes (--yes)[/]")
    body = {"choice": "promote" if approved else "reject", "digest": question["digest"]}
    await api.post(f"/api/missions/{view['id']}/answers", body)
    return await follow(api, view["id"], quiet=quiet, after=view["seq"], tell=narrator)


def _offers_promotion(question: Mapping[str, Any]) -> bool:
    return question["digest"] and any(c["id"] == "promote" for c in question["choices"])


async def _mission(api: Api, sample: Sample, repository: Path | None) -> str:
    """The demo's mission: the one that was begun here before, else a new one."""
    begun = (await api.get("/api/missions", limit=500))["missions"]
    if begun:
        return str(begun[-1]["id"])
    body = {
        "brief": sample.brief,
        "repository": None if repository is None else str(repository),
        "auto_implement": True,
        "implementer": sample.implementer,
        "implementer_options": dict(sample.options),
        "constraints": dict(sample.constraints),
    }
    given = {name: value for name, value in body.items() if value is not None}
    return str((await api.post("/api/missions", given))["id"])


def _introduce(sample: Sample, repository: Path | None, root: Path) -> None:
    where = f"Repository: {repository}" if repository else "Repository: a new, empty one"
    text = f"{sample.brief}\n\n{where}\nEverything of this demo is below {root}"
    panel = Panel(escape(text), title="The brief", title_align="left")
    console.print(panel, soft_wrap=False)
    console.print(f"[dim]To be honest: {escape(sample.honesty)}[/]\n")


def _show_question(question: Mapping[str, Any], change: str) -> None:
    say("")
    console.print(Syntax(plain(change), "diff", theme="ansi_dark", background_color="default"))
    say(f"[yellow]?[/] [bold]{escape(plain(question['question']))}[/]")
    say(f"  The answer signs the proof [bold]{str(question['digest'])[:16]}…[/]")


def _result(
    view: Mapping[str, Any], artifacts: list[dict[str, Any]], duration_s: float
) -> dict[str, Any]:
    outputs = view["outputs"]
    proofs = [o for s, o in outputs.items() if s.startswith("verify") and "counts" in o]
    return {
        "mission_id": view["id"],
        "status": view["outcome"] or view["status"],
        "promoted_commit": outputs.get("promote", {}).get("commit"),
        "tests_before": outputs.get("baseline", {}).get("counts"),
        "tests_after": proofs[-1]["counts"] if proofs else None,
        "duration_s": round(duration_s, 1),
        "artifacts": [a["path"] or a["name"] for a in artifacts],
    }
