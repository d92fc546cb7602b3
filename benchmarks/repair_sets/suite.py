"""Running a library's tests in a fresh process: the census that the sets and the judge rely on."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

from benchmarks.repair_sets.packages import environment, import_path

_TIMEOUT_S = 120
_SKIPPED = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".git")


def copy(tree: Path, target: Path) -> Path:
    shutil.copytree(tree, target, ignore=_SKIPPED, dirs_exist_ok=True)
    return target


def pytest_argv(deselected: Iterable[str] = ()) -> list[str]:
    """The pytest command line for a library, without some of its tests."""
    argv = [str(environment()), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    argv += ["-o", "addopts=", "-o", "filterwarnings="]
    return argv + [f"--deselect={name}" for name in deselected]


def run(tree: Path) -> dict[str, bool] | None:
    """Each test's id and whether it passes (skipped ones are left out); None when nothing ran.

    Runs in a copy, so that the tree stays as it is. Ids are `file::class::name` as pytest's.
    """
    with tempfile.TemporaryDirectory() as scratch:
        work = copy(tree, Path(scratch) / "tree")
        report = Path(scratch) / "report.txt"
        argv = [*pytest_argv(), "-rA", "--tb=no", "-o", "console_output_style=classic"]
        argv += [f"--junitxml={report}", "-o", "junit_family=xunit1"]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": import_path(tree)}
        env |= {"PYTHONDONTWRITEBYTECODE": "1", "HOME": scratch, "LANG": "C.UTF-8"}
        try:
            subprocess.run(
                argv, cwd=work, env=env, timeout=_TIMEOUT_S, check=False,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None
        return _outcomes(report) if report.exists() else None


def _outcomes(report: Path) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - our own pytest wrote it
        file = case.get("file") or ""
        module = file.removesuffix(".py").replace("/", ".")
        classes = (case.get("classname") or "").removeprefix(module).strip(".")
        parts = [file, *(classes.split(".") if classes else []), case.get("name") or ""]
        failed = case.find("failure") is not None or case.find("error") is not None
        if case.find("skipped") is None:
            found["::".join(parts)] = not failed
    return found
