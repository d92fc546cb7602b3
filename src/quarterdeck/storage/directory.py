"""The data directory: its layout, its permissions, and the lock that keeps it to one process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from quarterdeck.core.errors import Conflict, Unavailable


class DataDirectory:
    """One installation's files.

    `storage/memory/learning/` is the documented learning memory (DOC-2), `sandbox/ID/` the work
    trees, `artifacts/` bytes by hash, `journal.db` the log.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.learning = self.root / "storage" / "memory" / "learning"
        self.sandboxes = self.root / "sandbox"
        self.artifacts = self.root / "artifacts"
        self.mirrors = self.root / "mirrors"
        self.work = self.root / "work"
        self.models = self.root / "models"
        self.journal = self.root / "journal.db"
        self.key = self.root / "signing.key"
        self.token = self.root / "token"
        self._lock_fd: int | None = None

    def create(self) -> None:
        """Make the layout; only the owner may look inside.

        Raises:
            Unavailable: when the directory cannot be made or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(0o700)
            for folder in (
                self.learning / "mission_briefs",
                self.sandboxes,
                self.artifacts,
                self.mirrors,
                self.work,
            ):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(
                f"The data directory cannot be used: {error.strerror}.", where=str(self.root)
            ) from None

    def lock(self) -> None:
        """Keep every other process out until this one ends; nothing to clean up after a crash.

        Raises:
            Conflict: when another process has the directory, naming its process id.
        """
        fd = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise Conflict(
                f"Another Quarterdeck (process {owner}) uses this data directory.",
                where=str(self.root),
                hint="Talk to it through the command line or API, or stop it first.",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._lock_fd = fd

    def unlock(self) -> None:
        """Let the next process in."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None
