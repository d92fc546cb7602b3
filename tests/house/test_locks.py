"""The locks pin, with hashes, what the project file asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PIN = re.compile(r"^([a-z0-9-]+)==([^\s;]+)", re.MULTILINE)


def _pins(file: Path) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PIN.findall(file.read_text())}


def _asked(root: Path) -> list[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    groups = project["dependency-groups"]
    lines = [
        *project["project"]["dependencies"],
        *extras["bundled"],
        *extras["postgres"],
        *groups["build"],
        *groups["dev"],
    ]
    return [Requirement(line) for line in lines]


def test_every_dependency_is_pinned_within_its_bounds(root: Path):
    pins = _pins(root / "requirements-dev.lock") | _pins(root / "requirements.lock")
    unmet = [
        str(asked)
        for asked in _asked(root)
        if not asked.specifier.contains(pins.get(canonicalize_name(asked.name), "0"))
    ]
    assert not unmet, "pin anew: ./dev lock"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_pin_has_a_hash(root: Path, name: str):
    blocks = re.split(r"\n(?=\S)", (root / name).read_text().strip())
    assert not [block for block in blocks if "--hash=sha256:" not in block]


def test_the_two_locks_agree(root: Path):
    run, dev = _pins(root / "requirements.lock"), _pins(root / "requirements-dev.lock")
    assert {name: run[name] for name in run.keys() & dev.keys()} == {
        name: dev[name] for name in run.keys() & dev.keys()
    }
