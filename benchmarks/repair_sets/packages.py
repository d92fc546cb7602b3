"""Small tested libraries: their source archives, and one environment to run their tests in."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("QUARTERDECK_BENCH_CACHE", "~/.cache/quarterdeck-bench")).expanduser()
_BACKENDS = (
    "setuptools", "wheel", "hatchling", "hatch-vcs", "flit-core", "setuptools-scm", "poetry-core",
)  # fmt: skip
_TEST_NEEDS = ("pytest", "text-unidecode", "freezegun", "hypothesis", "pytest-mock")


@dataclass(frozen=True, slots=True)
class Library:
    """A library by its package name, with the releases that the human set is mined from."""

    name: str
    releases: tuple[str, ...]


LIBRARIES = (
    Library("inflection", ("0.4.0", "0.5.0", "0.5.1")),
    Library("python-slugify", ("8.0.1", "8.0.4", "9.0.0", "9.1.0", "9.1.3", "9.2.0")),
    Library("toolz", ("0.11.2", "0.12.0", "0.12.1", "1.0.0")),
    Library("boltons", ("23.1.1", "24.0.0", "24.1.0", "25.0.0", "26.0.0", "26.1.0", "26.2.0")),
    Library("tabulate", ("0.8.9", "0.8.10", "0.9.0", "0.10.0")),
    Library("humanize", ("4.10.0", "4.11.0", "4.12.0", "4.13.0", "4.15.0", "4.17.0")),
    Library("parse", ("1.20.1", "1.20.2", "1.21.0", "1.22.0", "1.22.2", "1.22.4")),
    Library("semver", ("3.0.0", "3.0.1", "3.0.2", "3.0.4", "3.1.1")),
    Library("xmltodict", ("0.13.0", "0.14.2", "0.15.1", "1.0.2", "1.0.4")),
    Library("textdistance", ("4.5.0", "4.6.0", "4.6.1", "4.6.2", "4.6.3")),
    Library("jmespath", ("0.10.0", "1.0.0", "1.0.1", "1.1.0")),
    Library("natsort", ("8.0.0", "8.1.0", "8.2.0", "8.3.1", "8.4.0")),
)


def environment() -> Path:
    """The Python of an environment with pytest and what the libraries' tests import."""
    home = CACHE / "env"
    python = home / "bin" / "python"
    marker = home / "complete"
    if not marker.exists():
        _run([sys.executable, "-m", "venv", str(home)])
        _pip(python, "install", "-U", *_TEST_NEEDS, *_BACKENDS)
        marker.touch()
    return python


def _pip(python: Path, *arguments: str) -> None:
    _run([str(python), "-m", "pip", "-q", "--disable-pip-version-check", *arguments])


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv[:6])} failed: {done.stderr[-400:]}")


def source_tree(library: str, release: str) -> Path | None:
    """The unpacked source archive of a release; None when it cannot be had or brings no tests."""
    home = CACHE / "sources" / library / release
    if not home.exists():
        archives = CACHE / "archives"
        archives.mkdir(parents=True, exist_ok=True)
        flags = ("--no-deps", "--no-build-isolation", "--no-binary", ":all:")
        try:
            _pip(environment(), "download", *flags, "-d", str(archives), f"{library}=={release}")
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"  {library} {release}: {str(error)[-160:]!r}", file=sys.stderr)
            return None
        archive = _archive(archives, library, release)
        if archive is None:
            return None
        _unpack(archive, home)
    inner = next((path for path in sorted(home.iterdir()) if path.is_dir()), None)
    return inner if inner is not None and _has_tests(inner) else None


def _archive(folder: Path, library: str, release: str) -> Path | None:
    wanted = library.replace("-", "_")
    for path in sorted(folder.glob("*.tar.gz")):
        if path.name.replace("-", "_") == f"{wanted}_{release}.tar.gz":
            return path
    return None


def _unpack(archive: Path, home: Path) -> None:
    beside = home.with_name(f"{home.name}.part")
    beside.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as opened:
        opened.extractall(beside, filter="data")
    beside.rename(home)


def _has_tests(tree: Path) -> bool:
    return any(tree.rglob("test_*.py")) or any(tree.rglob("*test.py"))


def import_path(tree: Path) -> str:
    """PYTHONPATH for the tree's own tests, relative to it."""
    return "src" if (tree / "src").is_dir() else "."
