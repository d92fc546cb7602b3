"""`quarterdeck mission`: submit, list, show, watch, answer, re-run, promote, roll back, cancel."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from quarterdeck.cli import options
from quarterdeck.cli.connection import Api, run
from quarterdeck.cli.losses import lost_by_cancelling, lost_by_rejecting, lost_by_rolling_back
from quarterdeck.cli.output import (
    ERROR,
    MARKS,
    WAITING,
    confirm,
    plain,
    print_json,
    print_table,
    say,
)
from quarterdeck.cli.watch import follow
from quarterdeck.core.errors import Conflict, InvalidInput

FAILED = frozenset({"failed", "cancelled", "blocked"})

app = typer.Typer(no_args_is_help=True, help="Missions: from a brief to a promoted commit.")

MissionArg = Annotated[str, typer.Argument(metavar="MISSION", help="The mission's id.")]
YesOpt = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
ReasonOpt = Annotated[str, typer.Option("--reason", help="Why; kept with the decision.")]


@app.command()
def submit(
    brief: Annotated[
        str, typer.Argument(help="What is wanted and how we shall know; @FILE reads it.")
    ],
    repo: Annotated[
        str | None, typer.Option("--repo", help="The target: a path or URL; left out: a new one.")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="The branch to promote to.")] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="Implement without asking first; promotion still asks.")
    ] = False,
    constraint: Annotated[
        list[str] | None, typer.Option("--constraint", "-c", help="NAME=JSON; may be repeated.")
    ] = None,
    implementer: Annotated[
        str, typer.Option(help="auto, repair, agent, acp, command or by_hand.")
    ] = "auto",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="NAME=JSON for the implementer; may be repeated."),
    ] = None,
    mission_id: Annotated[
        str | None, typer.Option("--id", help="The id; left out: from the time.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="The recipe.")] = "solve",
    wait: Annotated[bool, typer.Option(help="Follow it until it rests.")] = True,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Submit a mission and follow it."""

    async def work(api: Api) -> dict[str, Any]:
        body = {
            "brief": _text(brief),
            "repository": _repository(repo),
            "target_branch": branch,
            "auto_implement": auto,
            "constraints": _pairs(constraint, "constraint"),
            "implementer": implementer,
            "implementer_options": _pairs(option, "option"),
            "mission_id": mission_id,
            "recipe": recipe,
        }
        given = {name: value for name, value in body.items() if value is not None}
        view = await api.post("/api/missions", given)
        if not as_json:
            say(f"Mission [bold]{escape(view['id'])}[/]")
        if wait or api.inside:
            return await follow(api, view["id"], quiet=as_json)
        return view

    _ended(run(work, data, as_json=as_json), as_json=as_json)


@app.command("list")
def list_missions(
    status: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """List missions, newest first."""

    async def work(api: Api) -> None:
        found = await api.get("/api/missions", status=status, limit=limit)
        if as_json:
            print_json(found)
            return
        rows = (
            (m["id"], MARKS[m["status"]], f"{m['percent']:.0f} %", m["outcome"], m["title"])
            for m in found["missions"]
        )
        print_table(
            ("MISSION", "STATUS", "DONE", "OUTCOME", "BRIEF"),
            rows,
            empty='No missions yet. Begin with: quarterdeck mission submit "…" --repo PATH',
        )

    run(work, data, as_json=as_json)


@app.command()
def show(mission: MissionArg, data: options.Data = None, as_json: options.Json = False) -> None:
    """Show one mission: its steps, what it found, and what it waits for."""

    async def work(api: Api) -> None:
        _show(await api.get(f"/api/missions/{mission}"), as_json=as_json, whole=True)

    run(work, data, as_json=as_json)


@app.command()
def diff(mission: MissionArg, data: options.Data = None, as_json: options.Json = False) -> None:
    """Print the change that the mission made."""

    async def work(api: Api) -> None:
        text = await change_of(api, await api.get(f"/api/missions/{mission}"))
        if as_json:
            print_json({"mission_id": mission, "diff": text})
        else:
            typer.echo(plain(text), nl=False)

    run(work, data, as_json=as_json)


async def change_of(api: Api, view: Mapping[str, Any]) -> str:
    """The newest change of a mission as a unified diff; "" when it has made none."""
    changes = [
        o["diff"] for s, o in view["outputs"].items() if s.startswith("implement") and o.get("diff")
    ]
    if not changes:
        return ""
    return (await api.bytes(f"/api/artifacts/{changes[-1]['sha256']}")).decode(errors="replace")


@app.command()
def watch(mission: MissionArg, data: options.Data = None, as_json: options.Json = False) -> None:
    """Follow a mission until it is over or waits for you."""

    async def work(api: Api) -> dict[str, Any]:
        return await follow(api, mission, quiet=as_json)

    _ended(run(work, data, as_json=as_json), as_json=as_json)


def _answering(
    mission: str,
    choices: tuple[str, ...],
    *,
    reason: str,
    data: Path | None,
    as_json: bool,
    values: Mapping[str, Any] | None = None,
    check: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    """Give the first of `choices` that the mission offers, bound to the digest it shows now."""

    async def work(api: Api) -> dict[str, Any]:
        view = await api.get(f"/api/missions/{mission}")
        question, choice = offered(view, choices)
        if check is not None:
            check(view)
        body = {
            "choice": choice,
            "reason": reason,
            "digest": question.get("digest"),
            "data": dict(values or {}),
        }
        given = {name: value for name, value in body.items() if value is not None}
        await api.post(f"/api/missions/{mission}/answers", given)
        return await _followed_on(api, mission, as_json=as_json)

    _ended(run(work, data, as_json=as_json), as_json=as_json)


async def _followed_on(api: Api, mission: str, *, as_json: bool) -> dict[str, Any]:
    """Follow from now on; what happened before was shown by whoever followed it then."""
    seen = await api.get(f"/api/missions/{mission}/events")
    after = seen["events"][-1]["seq"] if seen["events"] else 0
    return await follow(api, mission, quiet=as_json, after=after)


def offered(view: Mapping[str, Any], choices: tuple[str, ...]) -> tuple[Mapping[str, Any], str]:
    """The question of a mission that offers one of `choices`, and which one.

    Raises:
        Conflict: saying what the mission waits for instead.
    """
    for question in view["awaiting"]:
        ids = {choice["id"] for choice in question["choices"]}
        for choice in choices:
            if choice in ids:
                return question, choice
    waits = [f"{q['step']}: {', '.join(c['id'] for c in q['choices'])}" for q in view["awaiting"]]
    raise Conflict(
        f"The mission is {view['status']} and does not wait for {' or '.join(choices)}.",
        where=view["id"],
        hint=f"It waits at {'; '.join(waits)}." if waits else None,
    )


@app.command()
def approve(
    mission: MissionArg,
    reason: ReasonOpt = "",
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Say yes to what the mission waits for: start, implement, or promote."""
    choices = ("start", "approve", "promote", "again")
    _answering(mission, choices, reason=reason, data=data, as_json=as_json)


@app.command()
def promote(
    mission: MissionArg,
    reason: ReasonOpt = "",
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Promote what was proved into the target branch."""
    _answering(mission, ("promote",), reason=reason, data=data, as_json=as_json)


@app.command()
def reject(
    mission: MissionArg,
    reason: ReasonOpt = "",
    yes: YesOpt = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Say no to what the mission waits for; nothing is changed."""

    def check(view: Mapping[str, Any]) -> None:
        confirm(f"Say no to {mission}?", lost_by_rejecting(view), yes=yes)

    choices = ("reject", "fail")
    _answering(mission, choices, reason=reason, data=data, as_json=as_json, check=check)


@app.command("continue")
def continue_(
    mission: MissionArg,
    reason: ReasonOpt = "",
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Go on after implementing by hand in the sandbox."""
    _answering(mission, ("continue",), reason=reason, data=data, as_json=as_json)


@app.command()
def answer(
    mission: MissionArg,
    choice: Annotated[str, typer.Argument(help="The id of one of the offered choices.")],
    value: Annotated[
        list[str] | None, typer.Option("--value", "-v", help="NAME=JSON that the choice needs.")
    ] = None,
    reason: ReasonOpt = "",
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Give any answer that the mission offers."""
    values = _pairs(value, "value")
    _answering(mission, (choice,), reason=reason, data=data, as_json=as_json, values=values)


@app.command()
def rerun(
    mission: MissionArg,
    brief: Annotated[str | None, typer.Option(help="The changed brief; @FILE reads it.")] = None,
    constraint: Annotated[
        list[str] | None, typer.Option("--constraint", "-c", help="NAME=JSON; replaces them all.")
    ] = None,
    implementer: Annotated[str | None, typer.Option(help="The changed implementer.")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", "-o", help="NAME=JSON.")] = None,
    step: Annotated[str, typer.Option("--from", help="The step to begin again at.")] = "consult",
    reason: ReasonOpt = "",
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Change what is asked and begin again from the mentors."""

    async def work(api: Api) -> dict[str, Any]:
        body = {
            "brief": _text(brief) if brief else None,
            "constraints": _pairs(constraint, "constraint") if constraint else None,
            "implementer": implementer,
            "implementer_options": _pairs(option, "option") if option else None,
            "step": step,
            "reason": reason,
        }
        given = {name: value for name, value in body.items() if value is not None}
        await api.post(f"/api/missions/{mission}/rerun", given)
        return await _followed_on(api, mission, as_json=as_json)

    _ended(run(work, data, as_json=as_json), as_json=as_json)


@app.command()
def rollback(
    mission: MissionArg,
    reason: ReasonOpt = "",
    yes: YesOpt = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Take back what a mission promoted, by its inverse."""

    async def work(api: Api) -> dict[str, Any]:
        view = await api.get(f"/api/missions/{mission}")
        confirm(f"Roll {mission} back?", lost_by_rolling_back(view), yes=yes)
        begun = await api.post(f"/api/missions/{mission}/rollback", {"reason": reason})
        return await follow(api, begun["id"], quiet=as_json)

    _ended(run(work, data, as_json=as_json), as_json=as_json)


@app.command()
def cancel(
    mission: MissionArg,
    reason: ReasonOpt = "",
    yes: YesOpt = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Stop a mission for good; its running commands are killed."""

    async def work(api: Api) -> dict[str, Any]:
        view = await api.get(f"/api/missions/{mission}")
        confirm(f"Stop {mission} for good?", lost_by_cancelling(view), yes=yes)
        await api.post(f"/api/missions/{mission}/cancel", {"reason": reason})
        return await _followed_on(api, mission, as_json=as_json)

    _show(run(work, data, as_json=as_json), as_json=as_json)


def _ended(view: Mapping[str, Any], *, as_json: bool) -> None:
    """Show how a mission that was followed stands, and end with the exit code that says so."""
    _show(view, as_json=as_json)
    raise typer.Exit(code_of(view["status"]))


def code_of(status: str) -> int:
    """The exit code for a mission of this status."""
    if status == "waiting":
        return WAITING
    return ERROR if status in FAILED else 0


def _show(view: Mapping[str, Any], *, as_json: bool, whole: bool = False) -> None:
    if as_json:
        print_json(view)
        return
    if whole:
        _show_whole(view)
    outcome = f" — {escape(plain(view['outcome']))}" if view["outcome"] else ""
    say(f"[bold]{escape(view['id'])}[/] {MARKS[view['status']]}{outcome}")
    if view["error"]:
        say(f"[red]{escape(plain(view['error']))}[/]")
    for question in view["awaiting"]:
        _show_question(view["id"], question)


def _show_whole(view: Mapping[str, Any]) -> None:
    say(escape(plain(view["brief"])))
    rows = (
        (step["id"], MARKS[step["status"]], step["phase"], step["reason"]) for step in view["steps"]
    )
    print_table(("STEP", "STATUS", "PHASE", "WHY"), rows, empty="It has no steps.")


def _show_question(mission_id: str, question: Mapping[str, Any]) -> None:
    say(f"[yellow]?[/] {escape(plain(question['question']))}")
    for name, value in (question.get("detail") or {}).items():
        if isinstance(value, str) and value:
            say(f"    {escape(name)}: {escape(plain(value))}")
    if question.get("digest"):
        say(f"    digest: {question['digest']}")
    for choice in question["choices"]:
        command = f"quarterdeck mission answer {mission_id} {choice['id']}"
        say(f"    {escape(plain(choice['label']))}: [bold]{escape(command)}[/]")


def _text(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"It cannot be read: {error}.", where=given[1:]) from None


def _repository(given: str | None) -> str | None:
    """A local path as an absolute one, since the server has another working directory."""
    if given is None or "://" in given or not Path(given).expanduser().exists():
        return given
    return str(Path(given).expanduser().absolute())


def _pairs(given: list[str] | None, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in given or ():
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise InvalidInput(f"{pair[:80]!r} is not NAME=JSON.", where=where)
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
