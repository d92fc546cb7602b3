"""The bands of ARCHITECTURE.md: the tree keeps them, and the contracts catch who does not."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Contract → a file below the package, and a line in it that breaks the contract.
PLANTED = {
    "Each band knows only the bands below it": ("core/clock.py", "import quarterdeck.engine"),
    "Features do not know each other": (
        "features/planted/__init__.py",
        "import quarterdeck.features.coding",
    ),
    "No package holds a circle of imports": ("core/ids.py", "import quarterdeck.core.mission"),
    "The core decides and does nothing": ("core/artifact.py", "import subprocess"),
    "Only the storage talks to a database": ("features/coding/planted.py", "import sqlite3"),
}


def _lint(package_parent: Path, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("lint-imports")),
            "--no-logo",
            "--no-cache",
            "--config",
            str(root / ".importlinter"),
        ],
        cwd=package_parent,
        env={**os.environ, "PYTHONPATH": str(package_parent), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_arrows_hold(root: Path):
    result = _lint(root / "src", root)
    assert result.returncode == 0, result.stdout


def test_each_contract_catches_its_breach(root: Path, tmp_path: Path):
    package = tmp_path / "quarterdeck"
    shutil.copytree(root / "src/quarterdeck", package, ignore=shutil.ignore_patterns("__pycache__"))
    for where, line in PLANTED.values():
        (package / where).parent.mkdir(exist_ok=True)
        with (package / where).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    (package / "stray.py").write_text("from quarterdeck import core\n")
    result = _lint(tmp_path, root)
    assert result.returncode == 1
    assert "stray" in result.stdout, "a module outside the bands goes unnoticed"
    unnoticed = [name for name in PLANTED if f"{name} BROKEN" not in result.stdout]
    assert not unnoticed, result.stdout


def test_the_log_is_the_only_writer(product):
    """Two writers on one file block each other; the log gives everybody's rows one transaction."""
    writers = {
        source.name
        for source in product
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and node.attr == "connect_writer"
    }
    assert writers == {"src/quarterdeck/storage/log.py"}
