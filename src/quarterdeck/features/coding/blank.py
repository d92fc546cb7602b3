"""Whether a tree is a blank page: neither product code nor tests, at most words about it."""

from __future__ import annotations

import os
from pathlib import Path

from quarterdeck.features.coding import globs

ALLOWED: tuple[str, ...] = (
    "README*", "LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "AUTHORS*", "CHANGELOG*", "CODEOWNERS",
    "**/*.md", "**/*.rst", "**/*.adoc", "**/.gitignore", "**/.gitattributes", ".editorconfig",
    "pyproject.toml", "setup.cfg", "package.json", "go.mod", "Cargo.toml", "composer.json",
)  # fmt: skip
"""Words, git's own lists, and manifests that only name the project."""
NEVER_OWN: tuple[str, ...] = (
    "quarterdeck.yaml", "**/sitecustomize.py", "**/usercustomize.py", "**/*.pth",
    "**/*.egg-info/**", "**/*.dist-info/**", "**/.venv/**", "**/pyvenv.cfg", "**/node_modules/**",
)  # fmt: skip
"""What a change may not bring even to a blank page: it would decide how it is judged."""


def is_blank(root: Path) -> bool:
    """Whether every file below `root` is one of `ALLOWED`; a link never is."""
    for directory, names, files in os.walk(root):
        here = Path(directory)
        if any((here / name).is_symlink() for name in (*names, *files)):
            return False
        paths = [(here / name).relative_to(root).as_posix() for name in files]
        if not all(any(globs.matches(path, glob) for glob in ALLOWED) for path in paths):
            return False
    return True


def may_bring(path: str) -> bool:
    """Whether a change of a blank page may add this file that judges it."""
    return not any(globs.matches(path, glob) for glob in NEVER_OWN)
