"""`quarterdeck demo`: one whole mission on a sample repository, from the brief to a signed commit."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.panel import Panel
from rich.syntax import Syntax

from quarterdeck.cli.connection import Api, connect
from quarterdeck.cli.missions import change_of, offered
from quarterdeck.cli.output import console, plain, print_json, print_table, say
from quarterdeck.cli.samples import Sample, find_sample, shipped_samples
from quarterdeck.cli.watch import follow
from quarterdeck.settings import load_settings


def show_samples(*, as_json: bool) -> None:
    """List the shipped samples."""
    samples = shipped_samples()
    if as_json:
        print_json({"samples": [{"name": s.name, "summary": s.summary} for s in samples]})
        return
    rows = ((s.name, s.summary, s.implementer) for s in samples)
    print_table(("SAMPLE", "WHAT HAPPENS", "IMPLEMENTER"), rows, empty="")


async def run_demo(name: str, data: Path | None, *, yes: bool, as_json: bool) -> int:
    """Run a sample mission to its end; returns the exit code: 0 when it was promoted."""
    sample = find_sample(name)
    started_s = time.monotonic()
    root = await asyncio.to_thread(_place, data)
    repository = await asyncio.to_thread(sample.make_repository, root / "repository")
    async with AsyncExitStack() as stack:
        prepared = await stack.enter_async_context(sample.prepared(root))
        settings = load_settings({"data_dir": root / "data", **prepared.settings})
        api = await stack.enter_async_context(connect(settings))
        if not as_json:
            _introduce(sample, repository)
        view = await _solved(api, sample, repository, prepared.options, yes=yes, quiet=as_json)
        change = await change_of(api, view)
        artifacts = (await api.get(f"/api/missions/{view['id']}/artifacts"))["artifacts"]
    result = _result(view, artifacts, time.monotonic() - started_s)
    if as_json:
        print_json(result)
    else:
        _conclude(view, change, result, root=root)
    return 0 if result["promoted_commit"] else 1


def _place(data: Path | None) -> Path:
    return Path(data or tempfile.mkdtemp(prefix="quarterdeck-demo-")).absolute()


async def _solved(
    api: Api,
    sample: Sample,
    repository: Path | None,
    options: Mapping[str, Any],
    *,
    yes: bool,
    quiet: bool,
) -> dict[str, Any]:
    body = {
        "brief": sample.brief,
        "repository": None if repository is None else str(repository),
        "auto_implement": True,
        "implementer": sample.implementer,
        "implementer_options": dict(options),
        "constraints": dict(sample.constraints),
    }
    view = await api.post("/api/missions", {k: v for k, v in body.items() if v is not None})
    view = await follow(api, view["id"], quiet=quiet)
    if view["status"] != "waiting":
        return view
    question, _ = offered(view, ("promote",))
    if not quiet:
        _show_question(view, question, await change_of(api, view))
    approved = yes or (not quiet and typer.confirm("Promote it?", default=True))
    body = {"choice": "promote" if approved else "reject", "digest": question["digest"]}
    await api.post(f"/api/missions/{view['id']}/answers", body)
    return await follow(api, view["id"], quiet=quiet, after=view["seq"])


def _introduce(sample: Sample, repository: Path | None) -> None:
    where = f"\nRepository: {repository}" if repository else "\nA new, empty repository"
    console.print(Panel(escape(f"{sample.brief}{where}\n\n{sample.honesty}"), title="The brief"))


def _show_question(view: Mapping[str, Any], question: Mapping[str, Any], change: str) -> None:
    outputs = view["outputs"]
    agreed, plan = outputs["agree"], outputs["plan"]
    answers = ", ".join(outputs["consult"]["routing"]["mentors"])
    say(f"\n[bold]Mentors:[/] {escape(answers)} — {escape(plain(agreed['tally']))}")
    note = outputs["consult"]["routing"].get("note")
    if note:
        say(f"  {escape(plain(note))}")
    degraded = " (a template: no model could plan)" if plan.get("degraded") else ""
    phases = " → ".join(phase["name"] for phase in plan["document"]["phases"])
    say(f"[bold]Plan:[/] {escape(phases)}{degraded}")
    say(f"[bold]Proof:[/] {escape(plain(question['detail'].get('summary')))}")
    say(f"  digest {question['digest']}\n")
    console.print(Syntax(plain(change), "diff", theme="ansi_dark", background_color="default"))


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


def _conclude(
    view: Mapping[str, Any],
    change: str,
    result: Mapping[str, Any],
    *,
    root: Path,
) -> None:
    if not result["promoted_commit"]:
        say(f"\nThe mission ended as [bold]{escape(plain(result['status']))}[/].")
        if view["error"]:
            say(escape(plain(view["error"])))
        return
    record = view["outputs"]["promote"]["record"]
    say(f"\nPromoted to {escape(record['branch'])} as signed commit [bold]{record['commit']}[/]")
    say(f"  {len(change.splitlines())} lines of diff, proof {record['proof_digest'][:16]}…")
    say(f"  look at it:      git -C {escape(record['delivered_to'])} log --stat -2")
    say(f"  everything kept: {escape(str(root / 'data' / 'storage' / 'memory' / 'learning'))}")
    say(f"  take it back:    quarterdeck mission rollback {view['id']} --data {root / 'data'}")
    say("\nThe same on your own repository:")
    say('  quarterdeck mission submit "what is wrong, and which test shows it" --repo PATH')
