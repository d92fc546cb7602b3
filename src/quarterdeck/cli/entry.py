"""How every command ends: errors as sentences or JSON, documented exit codes, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from quarterdeck.cli.output import INTERRUPTED, USAGE, fail, messages
from quarterdeck.core.errors import InvalidInput, QuarterdeckError

DEBUG = "QUARTERDECK_DEBUG"
"""The environment variable that shows where an unexpected error came from."""


class Commands(TyperGroup):
    """The commands, with one way to end for all of them."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run the command of these words and exit with its code."""
        words = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in words
        try:
            code = super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
            sys.exit(code if isinstance(code, int) else 0)
        except typer.Abort:
            messages.print("\nInterrupted.")
            sys.exit(INTERRUPTED)
        except typer.TyperException as error:
            _misused(error, as_json=as_json)
        except BrokenPipeError:
            _reader_gone()
        except QuarterdeckError as error:
            _ended(error, as_json=as_json)
        except Exception as error:
            if os.environ.get(DEBUG):
                raise
            _ended(_unexpected(error), as_json=as_json)


def _misused(error: typer.TyperException, *, as_json: bool) -> NoReturn:
    """Say what is wrong with the command line, and which help says what would be right."""
    context: Any = getattr(error, "ctx", None)
    words = context.command_path if context is not None else "quarterdeck"
    message = str(getattr(error, "message", "") or error).strip()
    if type(error).__name__ == "NoArgsIsHelpError" and not as_json:
        typer.echo(message)
        sys.exit(USAGE)
    told = getattr(error, "format_message", lambda: message)()
    problem = InvalidInput(str(told).strip(), hint=f"See: {words} --help")
    _ended(problem, as_json=as_json, code=USAGE)


def _ended(error: QuarterdeckError, *, as_json: bool, code: int = 1) -> NoReturn:
    try:
        fail(error, as_json=as_json, code=code)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)


def _unexpected(error: Exception) -> QuarterdeckError:
    return QuarterdeckError(
        f"Something unexpected happened: {type(error).__name__}: {error}"[:500],
        hint=f"Please report it; with {DEBUG}=1 it says where it happened.",
    )


def _reader_gone() -> NoReturn:
    """Whoever read our output has enough of it; what is left goes nowhere, quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
