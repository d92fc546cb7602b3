"""What commands print: tables and sentences for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from quarterdeck.core.errors import QuarterdeckError, Refused

MARKS = {
    "done": "[green]✓[/] done",
    "running": "[cyan]▸[/] running",
    "queued": "[dim]·[/] queued",
    "waiting": "[yellow]?[/] waiting for you",
    "failed": "[red]✗[/] failed",
    "skipped": "[dim]-[/] skipped",
    "cancelled": "[magenta]⊘[/] cancelled",
    "blocked": "[red]![/] blocked",
}
"""A sign, a word and a colour for each status: never colour alone."""

ERROR, USAGE, WAITING, INTERRUPTED = 1, 2, 3, 130
"""Exit codes; 0 says that what was asked for is done."""

console = Console(highlight=False, soft_wrap=True)
messages = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """One JSON document, on one line, on the standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table; `empty` is said instead when there is nothing to show."""
    from rich.table import Table

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    count = 0
    for count, row in enumerate(rows, 1):
        table.add_row(*map(_cell, row))
    if count:
        console.print(table)
    else:
        console.print(empty)


def _cell(value: object) -> str:
    return str(value) if value in MARKS.values() else escape(plain(value))


def plain(value: object) -> str:
    """Text without control characters, so that nothing from outside steers the terminal."""
    text = "" if value is None else str(value)
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def say(text: str) -> None:
    """A sentence for a person; may carry our own markup."""
    console.print(text)


def fail(error: QuarterdeckError, *, as_json: bool, code: int = ERROR) -> NoReturn:
    """Say what is wrong, where, and what would be right; end with an exit code that is not 0."""
    if as_json:
        print_json({"error": error.code, **problem_fields(error)})
    else:
        place = f"{plain(error.where)}: " if error.where else ""
        messages.print(f"[bold red]error[/] {escape(place + plain(error.message))}")
        if error.hint:
            messages.print(escape(plain(error.hint)))
    raise typer.Exit(code)


def confirm(question: str, lost: str, *, yes: bool) -> None:
    """Go on only when a person agrees to what will be lost, here or by `--yes`.

    Raises:
        Refused: nobody can be asked, or the answer was no; nothing has happened then.
    """
    if yes:
        return
    if not is_interactive():
        raise Refused(
            f"Nobody can be asked here: {question} {lost}", hint="Add --yes to say yes at once."
        )
    messages.print(escape(plain(lost)))
    if not typer.confirm(question, default=False, err=True):
        raise Refused("Nothing was done: you said no.")


def is_interactive() -> bool:
    """Whether a person can be asked: standard input and standard error are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and messages.is_terminal


def problem_fields(error: QuarterdeckError) -> Mapping[str, Any]:
    """The parts of an error that a program can use."""
    return {
        "title": error.title,
        "detail": error.message,
        "where": error.where,
        "hint": error.hint,
    }
