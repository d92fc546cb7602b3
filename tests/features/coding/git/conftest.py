"""Fixtures of the git tests: a target, mirrors, a key, a place for sandboxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from quarterdeck.features.coding.git.mirror import Mirrors
from quarterdeck.features.coding.git.signing import SigningKey
from tests.features.coding.git.repositories import make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    files = {
        "README.md": b"# Sample\n",
        "src/app.py": b"def f():\n    return 1\n",
        "src/other.py": b"X = 1\n",
        ".gitignore": b"build/\n*.log\n",
    }
    return make_repository(tmp_path / "target", files)


@pytest.fixture
def mirrors(tmp_path: Path) -> Mirrors:
    return Mirrors(tmp_path / "mirrors")


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.load_or_create(tmp_path / "keys" / "signing")


@pytest.fixture
def sandboxes(tmp_path: Path) -> Callable[[str], Path]:
    (tmp_path / "sandbox").mkdir()
    return lambda name: tmp_path / "sandbox" / name
