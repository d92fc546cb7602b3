"""Fixtures: an engine on a temporary directory, and bounded waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.engine.building import engine_at


@pytest.fixture
def at(tmp_path: Path):
    """`async with at(*kinds) as engine` on the same files each time."""
    return lambda *kinds: engine_at(tmp_path, *kinds)


@pytest.fixture
def within():
    """Bound every wait of a test."""
    return lambda awaitable, seconds=5.0: asyncio.wait_for(awaitable, seconds)
