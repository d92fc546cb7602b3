"""The tracked files, read once, for the rules of the house."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Source:
    """One tracked Python file: `name` is its path from the root, with '/'."""

    name: str
    text: str
    tree: ast.Module


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    """Path → content of every tracked text file."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    found: dict[str, str] = {}
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            found[name] = content.decode("utf-8")
    return found


@pytest.fixture(scope="session")
def sources(texts: dict[str, str]) -> list[Source]:
    """Every tracked Python file of ours; samples are other people's style on purpose."""
    return [
        Source(name, text, ast.parse(text, filename=name))
        for name, text in texts.items()
        if name.endswith(".py") and "/samples/" not in name
    ]


@pytest.fixture(scope="session")
def product(sources: list[Source]) -> list[Source]:
    """The Python files of the package itself."""
    return [source for source in sources if source.name.startswith("src/")]
