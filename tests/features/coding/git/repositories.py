"""Real repositories for the git tests, made with the git command line."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def git(path: Path, *arguments: str, check: bool = True) -> str:
    """Run the user's git in `path`."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
    }
    done = subprocess.run(
        ["git", *arguments], cwd=path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0 or not check, done.stderr.decode()
    return done.stdout.decode(errors="surrogateescape").strip()


def make_repository(path: Path, files: dict[str, bytes], *, bare: bool = False) -> Path:
    """A repository on `main` with one commit holding `files`."""
    work = path.with_name(f"{path.name}.work") if bare else path
    work.mkdir(parents=True)
    git(work, "init", "-q", "-b", "main")
    commit(work, files, "First")
    if bare:
        git(work.parent, "clone", "-q", "--bare", str(work), str(path))
    return path


def commit(path: Path, files: dict[str, bytes], message: str) -> str:
    """Write `files`, commit everything, return the commit."""
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    git(path, "add", "-A")
    git(path, "commit", "-q", "--allow-empty", "-m", message)
    return git(path, "rev-parse", "HEAD")
