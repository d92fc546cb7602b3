"""Following a mission in the terminal: one line for each thing that happens, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from quarterdeck.cli.connection import Api
from quarterdeck.cli.output import MARKS, console, messages, plain

if TYPE_CHECKING:
    from rich.progress import Progress

RESTING = frozenset({"waiting", "done", "failed", "cancelled", "blocked"})
POLL_S = 20.0


Tell = Callable[[Mapping[str, Any]], Iterable[str]]
"""The lines, with our own markup, that one event is worth to a person."""


async def follow(
    api: Api, mission_id: str, *, quiet: bool, after: int = 0, tell: Tell | None = None
) -> dict[str, Any]:
    """Show what happens until the mission is over or waits for a person.

    Returns its view, with `seq`: the place in the log up to which everything was shown.
    """
    told = tell or (lambda event: filter(None, (line_of(event),)))
    with _bar(shown=messages.is_terminal and not quiet) as progress:
        # On one terminal the lines go above the bar; redirected, they go where they were sent.
        out = progress.console if console.is_terminal else console
        task = progress.add_task(mission_id, total=100.0)
        while True:
            view = await api.get(f"/api/missions/{mission_id}")
            progress.update(task, completed=float(view["percent"]))
            found = await api.get(
                f"/api/missions/{mission_id}/events",
                after=after,
                wait_s=0 if view["status"] in RESTING else POLL_S,
            )
            for event in found["events"]:
                after = event["seq"]
                if event["type"] == "step.progressed":
                    progress.update(task, description=escape(known(event["data"])))
                for line in () if quiet else told(event):
                    out.print(line)
            if view["status"] in RESTING and not found["events"]:
                return {**view, "seq": after}


def _bar(*, shown: bool) -> Progress:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    return Progress(
        *columns,
        console=messages,
        transient=True,
        disable=not shown,
        redirect_stdout=False,
        redirect_stderr=False,
    )


_FIGURES = (
    ("tests_run", "tests run"),
    ("suspects", "suspicious lines"),
    ("candidates_tried", "candidates tried"),
    ("plausible", "plausible"),
)


def known(progress: Mapping[str, Any]) -> str:
    """What a step said about its progress, with those of its figures that are really known."""
    figures = [f"{progress[name]} {word}" for name, word in _FIGURES if progress.get(name)]
    return ", ".join([plain(progress.get("message"))[:60], *figures])


def line_of(event: Mapping[str, Any]) -> str | None:
    """One event as a line for a person, or None for what only programs need."""
    data, step = event["data"], escape(plain(event["step"]))
    match event["type"]:
        case "step.started":
            return f"  [cyan]▸[/] {step}"
        case "step.finished":
            return f"  [green]✓[/] {step}"
        case "step.failed":
            again = " (will be tried again)" if data.get("retry_at") else ""
            return f"  [red]✗[/] {step}: {escape(plain(data['error']))}{again}"
        case "step.interrupted":
            return f"  [yellow]↺[/] {step} was interrupted and goes on"
        case "step.waiting":
            return f"  [yellow]?[/] {step}: {escape(plain(data['question']['question']))}"
        case "mission.phase.completed":
            return f"[bold]phase completed: {escape(plain(data['phase']))}[/]"
        case "mission.promoted":
            return f"[bold green]promoted[/] {escape(plain(data['commit']))}"
        case "mission.finished":
            mark = MARKS.get(data["status"], plain(data["status"]))
            outcome = f" — {escape(plain(data['outcome']))}" if data.get("outcome") else ""
            return f"[bold]mission:[/] {mark}{outcome}"
        case _:
            return None
