"""The command line: a client of our own API, with `--json` on every command."""

from quarterdeck.cli.main import main

__all__ = ["main"]
