"""Ways to run a command confined, shared by the tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from quarterdeck.confine import CommandResult, Confinement, Limits, Network, run_command

Run = Callable[..., Awaitable[CommandResult]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The one place where the command may write."""
    path = tmp_path / "tree"
    path.mkdir()
    return path


@pytest.fixture(params=["own", "shared"])
def namespaces(request: pytest.FixtureRequest) -> bool:
    """Whether the command gets namespaces where they are to be had."""
    return request.param == "own"


@pytest.fixture
def run(tree: Path, namespaces: bool) -> Run:
    """Run an argument list, or Python source, confined to `tree`."""

    async def run_it(
        command: str | list[str],
        *,
        limits: Limits | None = None,
        network: Network = Network.NONE,
        timeout_s: float = 20,
        **more: object,
    ) -> CommandResult:
        argv = [sys.executable, "-c", command] if isinstance(command, str) else command
        confinement = Confinement(
            writable=(tree,), limits=limits or Limits(), network=network, namespaces=namespaces
        )
        return await run_command(
            argv, cwd=tree, confinement=confinement, timeout_s=timeout_s, **more
        )

    return run_it
