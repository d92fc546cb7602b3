"""Sample repositories for the demo: small, ours, each with one honest thing to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import quarterdeck
from quarterdeck.core.errors import NotFound, Unavailable

_HERE = Path(__file__).parent
_AGENT = Path("features") / "coding" / "implementers" / "scripted_acp.py"
_IDENTITY = {
    "GIT_AUTHOR_NAME": "Sample",
    "GIT_AUTHOR_EMAIL": "sample@example.invalid",
    "GIT_COMMITTER_NAME": "Sample",
    "GIT_COMMITTER_EMAIL": "sample@example.invalid",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
"""Nobody's settings: a signing key or a hook of the person would get into the sample."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: `brief` is submitted, `honesty` says where its task comes from.

    `settings` are those of the demo's installation, `options` the implementer's; in both,
    `{tools}` stands for the directory of the sample's own tools, `{python}` for this interpreter
    and `{scripted_agent}` for the scripted agent. `needs` are programs that must be here.
    """

    name: str
    summary: str
    brief: str
    honesty: str
    implementer: str
    folder: Path
    constraints: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The programs it needs that are not to be found here."""
        return tuple(program for program in self.needs if shutil.which(program) is None)

    def check(self) -> None:
        """Raise Unavailable when it cannot run here, naming what is missing."""
        if self.missing:
            raise Unavailable(
                f"The sample {self.name} needs {', '.join(self.missing)}, not found on this machine.",
                where="sample",
                hint="Install it, or choose another sample: quarterdeck demo --list.",
            )

    def make_repository(self, place: Path) -> Path | None:
        """A git repository with the sample's files at `place`; None for a brief without one.

        One that is there already stays as it is; a half made one is never at `place`.
        """
        source = self.folder / "repository"
        if not source.is_dir() or place.exists():
            return place if source.is_dir() else None
        fresh = place.with_name(f"{place.name}.part")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(source, fresh, ignore=shutil.ignore_patterns("__pycache__"))
        for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "Begin")):
            subprocess.run(
                ["git", *words], cwd=fresh, check=True, env={**_without_git(), **_IDENTITY}
            )
        fresh.rename(place)
        return place


def _without_git() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def shipped_samples() -> list[Sample]:
    """The samples that come with the product, by name."""
    return sorted((_read(file) for file in _HERE.glob("*/sample.yaml")), key=lambda s: s.name)


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
    places = {
        "{tools}": str(file.parent / "tools"),
        "{python}": sys.executable,
        "{scripted_agent}": str(Path(quarterdeck.__file__).parent / _AGENT),
    }
    for name in ("options", "settings"):
        found[name] = _filled(found.get(name) or {}, places)
    found["needs"] = tuple(found.get("needs") or ())
    return Sample(folder=file.parent, **found)


def _filled(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for name, place in places.items():
            value = value.replace(name, place)
        return value
    if isinstance(value, list):
        return [_filled(item, places) for item in value]
    if isinstance(value, Mapping):
        return {key: _filled(item, places) for key, item in value.items()}
    return value
