"""Plain checkouts side by side: their differences, their digest, and files put back."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from quarterdeck.features.coding.audit import Change

FILE_MAX = 8 * 1024 * 1024
_LINK = b"\0link:"
_LARGE = b"\0sha256:"


def changes_between(base: Path, candidate: Path) -> list[Change]:
    """Every file that differs, sorted by path.

    A link stands as the bytes of its target, a file over `FILE_MAX` bytes as its digest, each
    after a NUL, so that nobody takes them for text.
    """
    before, after = dict(_files(base)), dict(_files(candidate))
    changes: list[Change] = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old != new:
            changes.append(
                Change(
                    path,
                    _content(base / path) if old else None,
                    _content(candidate / path) if new else None,
                )
            )
    return changes


def files_digest(root: Path) -> str:
    """SHA-256 over the sorted paths, modes and contents of all files below `root`."""
    total = hashlib.sha256()
    for path, (kind, digest) in sorted(_files(root)):
        total.update(f"{kind} {digest} {len(path)} {path}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def put_back(paths: Iterable[str], *, source: Path, target: Path) -> None:
    """Make each of `paths` below `target` what it is below `source`, absent where it is absent.

    Links in the way are replaced, never followed.
    """
    for path in paths:
        _clear(target, path)
        origin = source / path
        if origin.is_symlink():
            (target / path).symlink_to(os.readlink(origin))
        elif origin.is_file():
            write_new(target / path, origin.read_bytes(), mode=origin.stat().st_mode & 0o777)


def write_new(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file that does not exist yet.

    Raises:
        FileExistsError: when there is something already, a link included.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(content)


def _clear(root: Path, path: str) -> None:
    """Remove the file at `path`, and whatever stands where one of its directories should."""
    parts = path.split("/")
    assert not {"", ".", ".."} & set(parts), f"{path!r} leaves the tree"
    place = root
    for part in parts[:-1]:
        place /= part
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            place.unlink()
        place.mkdir(exist_ok=True)
    last = place / parts[-1]
    if last.is_symlink() or last.is_file():
        last.unlink()


def _files(root: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """(relative path, (kind, digest)) of every file and link."""
    for directory, names, files in os.walk(root):
        here = Path(directory)
        links = [name for name in names if (here / name).is_symlink()]
        for name in (*files, *links):
            path = here / name
            status = path.lstat()
            relative = path.relative_to(root).as_posix()
            if stat.S_ISLNK(status.st_mode):
                yield relative, ("link", os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                kind = "program" if status.st_mode & stat.S_IXUSR else "file"
                yield relative, (kind, _digest(path))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return _LINK + os.fsencode(os.readlink(path))
    if path.stat().st_size > FILE_MAX:
        return _LARGE + _digest(path).encode()
    return path.read_bytes()
