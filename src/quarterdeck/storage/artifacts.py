"""Artifacts: bytes by their SHA-256, and the documented files of the learning memory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from quarterdeck.core.artifact import Artifact
from quarterdeck.core.errors import InvalidInput, NotFound, TooLarge, Unavailable
from quarterdeck.storage.directory import DataDirectory

SIZE_MAX = 512 * 1024 * 1024
_DRAFT = re.compile(r"\..*\.[0-9a-f]{12}\.part")


class Artifacts:
    """Stores bytes so that they are on the disk when `put` returns."""

    def __init__(self, directory: DataDirectory) -> None:
        self._blobs = directory.artifacts
        self._learning = directory.learning
        self.written: set[str] = set()
        """Places of the learning memory that this process has written or is about to."""

    async def put(
        self, name: str, content: bytes, *, media_type: str, path: str | None = None
    ) -> Artifact:
        """Keep `content`; with `path` also as a file below the learning memory.

        Raises:
            TooLarge: above 512 MiB.
            InvalidInput: when `path` leaves the learning memory.
            Unavailable: when the disk refuses; nothing is half written then.
        """
        if len(content) > SIZE_MAX:
            raise TooLarge(f"{name} has {len(content)} bytes; {SIZE_MAX} is the limit.", where=name)
        if path is not None:
            self.written.add(path)
        sha256 = await asyncio.to_thread(self._put, content, path)
        return Artifact(sha256, name, media_type, len(content), path)

    async def get(self, sha256: str) -> bytes:
        """The bytes with this hash.

        Raises:
            NotFound: when there are none.
            Unavailable: when what is on the disk does not match its hash.
        """
        return await asyncio.to_thread(self._get, sha256)

    def _put(self, content: bytes, path: str | None) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        blob = self._blob(sha256)
        file = self._file(path) if path else None
        try:
            if not blob.exists():
                write_durably(blob, content)
            if file is not None:
                write_durably(file, content)
        except OSError as error:
            raise Unavailable(
                f"The artifact cannot be written: {error.strerror}.", where=path or sha256
            ) from None
        return sha256

    def _get(self, sha256: str) -> bytes:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise NotFound(f"{sha256[:80]!r} is not an artifact's hash.", where="artifact")
        try:
            content = self._blob(sha256).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"There is no artifact {sha256}.", where="artifact") from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Unavailable(f"Artifact {sha256} is damaged on the disk.", where="artifact")
        return content

    def _blob(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256

    def _file(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\x00" in path:
            raise InvalidInput(f"{path!r} leaves the learning memory.", where="path")
        return self._learning.joinpath(*parts)


def write_durably(file: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file so that it is whole or absent after a crash: temporary, fsync, rename, fsync."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name[:100]}.{secrets.token_hex(6)}.part")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.rename(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _fsync_directory(file.parent)


def remove_drafts(directory: DataDirectory, *, before_s: float) -> int:
    """Remove what a death left half written before `before_s` (seconds since 1970); blocks.

    Returns how many drafts there were. Only the directory's owner may do this, and only places
    that nobody but the product writes to are looked at.
    """
    folders = [directory.root, *_folders(directory.artifacts), *_folders(directory.learning)]
    drafts = (file for folder in folders for file in folder.glob(".*.part"))
    count = 0
    for file in drafts:
        # One that is being written now may get its name at any moment.
        with contextlib.suppress(FileNotFoundError):
            if _DRAFT.fullmatch(file.name) and file.stat().st_mtime < before_s:
                file.unlink()
                count += 1
    return count


def _folders(place: Path) -> Iterator[Path]:
    for folder, _names, _files in os.walk(place):
        yield Path(folder)


def _fsync_directory(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
