"""Sample repositories for the demo: small, ours, each with one honest thing to do."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from quarterdeck.core.errors import NotFound

_HERE = Path(__file__).parent
_GIT_IDENTITY = ("-c", "user.name=Sample", "-c", "user.email=sample@example.invalid")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a sample needs while it runs: settings of the installation, options of the mission."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: `brief` is submitted, `honesty` says where its task comes from.

    `options` may hold `{sample}`, replaced by the directory of the sample's own tools; `script`
    are the rules of a scripted model server that stands in for a model, which is then said.
    """

    name: str
    summary: str
    brief: str
    honesty: str
    implementer: str
    constraints: Mapping[str, Any]
    options: Mapping[str, Any]
    folder: Path

    def make_repository(self, place: Path) -> Path | None:
        """A git repository with the sample's files at `place`; None for a brief without one."""
        source = self.folder / "repository"
        if not source.is_dir():
            return None
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "Begin")):
            subprocess.run(["git", *_GIT_IDENTITY, *words], cwd=place, check=True)
        return place

    @asynccontextmanager
    async def prepared(self, root: Path) -> AsyncIterator[Prepared]:
        """What the sample needs, for as long as it runs; its tools are copied below `root`."""
        tools = self.folder / "tools"
        if tools.is_dir():
            shutil.copytree(tools, root / "tools", dirs_exist_ok=True)
        yield Prepared(options=_filled(self.options, str(root / "tools")))


def _filled(value: Any, tools: str) -> Any:
    if isinstance(value, str):
        return value.replace("{tools}", tools)
    if isinstance(value, list):
        return [_filled(item, tools) for item in value]
    if isinstance(value, Mapping):
        return {key: _filled(item, tools) for key, item in value.items()}
    return value


def shipped_samples() -> list[Sample]:
    """The samples that come with the product, by name."""
    return [_read(file) for file in sorted(_HERE.glob("*/sample.yaml"))]


def find_sample(name: str) -> Sample:
    """The sample of this name; raises NotFound listing those there are."""
    samples = {sample.name: sample for sample in shipped_samples()}
    if name in samples:
        return samples[name]
    raise NotFound(
        f"There is no sample {name[:80]!r}.", where="sample", hint=f"One of: {', '.join(samples)}."
    )


def _read(file: Path) -> Sample:
    found: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    return Sample(folder=file.parent, **found)
