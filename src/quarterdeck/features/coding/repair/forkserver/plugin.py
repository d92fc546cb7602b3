"""The pytest side: collect as always, then serve requests instead of running the tests."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from .channel import Channel
from .serve import ImportServer, Server, SwapServer

_ROOT = os.environ.get("QUARTERDECK_REPAIR_ROOT", "")
_ORIGIN = os.environ.get("QUARTERDECK_REPAIR_ORIGIN", "")
_MODE = os.environ.pop("QUARTERDECK_REPAIR_MODE", "")

_server: Server | None = None
if _MODE:
    # Popped above, so that a pytest run inside the target's own tests is an ordinary one.
    _server = (SwapServer if _MODE == "swap" else ImportServer)(Channel(), _ROOT)


def _move_paths() -> None:
    """Import the copy, not the original, where the project is installed in place."""
    origin = os.path.join(_ORIGIN, "")
    for index, entry in enumerate(sys.path):
        inside = os.path.join(entry, "")
        if inside.startswith(origin):
            moved = os.path.join(_ROOT, inside[len(origin) :]).rstrip(os.sep)
            if os.path.isdir(moved):
                sys.path[index] = moved
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):
            mapping = getattr(module, "MAPPING", {})
            for package, path in mapping.items():
                if str(path).startswith(origin):
                    mapping[package] = os.path.join(_ROOT, str(path)[len(origin) :])


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: Any) -> Any:
    if _server is not None:
        known = early_config.known_args_namespace
        if hasattr(known, "cov_source"):
            known.cov_source = None
            known.no_cov = True
        _move_paths()
        _server.before_imports()
    yield


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_cmdline_main(config: Any) -> Any:
    if _server is not None:
        option = config.option
        if hasattr(option, "numprocesses"):
            option.numprocesses, option.dist = 0, "no"
        option.tbstyle = "line"
        option.verbose = -1
        option.maxfail = 0
    yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: Any) -> None:
    if _server is not None:
        _server.before_collection(session)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: Any) -> bool | None:
    if _server is None:
        return None
    _server.after_collection(session)
    return True


def pytest_runtest_logreport(report: Any) -> None:
    if _server is not None:
        _server.on_report(report)


def pytest_exception_interact(node: Any, call: Any, report: Any) -> None:
    if _server is not None:
        _server.on_exception(node, call)
