"""Files of a sandbox, opened component by component so that no symbolic link leads out of it."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from quarterdeck.core.errors import Denied, InvalidInput, NotFound, TooLarge

READ_MAX_BYTES = 4_194_304
WRITE_MAX_BYTES = 1_048_576
PATH_MAX = 4_096
DEPTH_MAX = 64
FILES_MAX = 50_000
HASHED_MAX_BYTES = 4_194_304

GIT = ".git"
GENERATED = frozenset(
    {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "node_modules"}
    | {".tox", ".nox", ".venv", ".cache", ".gradle"}
)
"""Directories that tools fill while they run; what is in them is not a change."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Non-blocking, so that opening a named pipe somebody planted does not hang.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class SandboxTree:
    """Reads and writes files below `root` and nowhere else.

    Paths are relative to the root, or absolute and inside of it. Symbolic links are never followed
    in any component, the git directory is never touched, writes replace the file as a whole.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve(strict=True)
        self._given = root

    def relative(self, path: str) -> PurePosixPath:
        """The path below the root that `path` names.

        Raises:
            InvalidInput: it is empty, too long, too deep or holds a NUL character.
            Denied: it leads out of the sandbox or into the git directory.
        """
        if not path or "\x00" in path or len(path) > PATH_MAX:
            raise InvalidInput("The path is empty, too long or holds a NUL.", where="path")
        pure = PurePosixPath(path)
        if pure.is_absolute():
            pure = self._below_root(pure, shown=path)
        if ".." in pure.parts:
            raise Denied(f"{path!r} leads out of the sandbox.", hint="Name a path inside of it.")
        if any(part.casefold() == GIT for part in pure.parts):
            raise Denied(f"{path!r} is in the git directory.", hint="Change ordinary files only.")
        if len(pure.parts) > DEPTH_MAX:
            raise InvalidInput(f"The path is deeper than {DEPTH_MAX} levels.", where="path")
        return pure

    def _below_root(self, pure: PurePosixPath, *, shown: str) -> PurePosixPath:
        for root in (self.root, self._given):
            if pure.is_relative_to(root.as_posix()):
                return pure.relative_to(root.as_posix())
        raise Denied(f"{shown!r} is outside of the sandbox.", hint=f"It is {self.root}.")

    def read(self, path: str, *, limit: int = READ_MAX_BYTES) -> bytes:
        """The bytes of a regular file.

        Raises:
            NotFound: there is no such file.
            Denied: it is a link, or not a regular file.
            TooLarge: it holds more than `limit` bytes.
        """
        with self._parent(path) as (directory, name), _said_well(path):
            file = os.fdopen(os.open(name, _READ, dir_fd=directory), "rb")
        with file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Denied(f"{path!r} is not a regular file.")
            content = file.read(limit + 1)
        if len(content) > limit:
            raise TooLarge(f"{path!r} is larger than {limit} bytes.", where="path")
        return content

    def read_text(self, path: str) -> str:
        """The text of a UTF-8 file; `InvalidInput` when it is not one."""
        try:
            return self.read(path).decode()
        except UnicodeDecodeError:
            raise InvalidInput(f"{path!r} is not UTF-8 text.", where="path") from None

    def write(self, path: str, content: bytes) -> None:
        """Put `content` there as a whole, or leave everything as it was; keeps the file's mode.

        Raises:
            Denied: a component is a symbolic link, or the place is not a regular file.
            TooLarge: more than `WRITE_MAX_BYTES`.
        """
        if len(content) > WRITE_MAX_BYTES:
            raise TooLarge(f"More than {WRITE_MAX_BYTES} bytes for {path!r}.", where="content")
        with self._parent(path, make=True) as (directory, name), _said_well(path):
            mode = _mode_to_keep(name, directory, path)
            scratch = f".{secrets.token_hex(8)}.part"
            try:
                with os.fdopen(os.open(scratch, _CREATE, mode, dir_fd=directory), "wb") as file:
                    file.write(content)
                    os.fchmod(file.fileno(), mode)
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(scratch, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(scratch, dir_fd=directory)
                raise

    def delete(self, path: str) -> None:
        """Remove a regular file; `NotFound` or `Denied` as for reading."""
        with self._parent(path) as (directory, name), _said_well(path):
            if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise Denied(f"{path!r} is not a regular file.")
            os.unlink(name, dir_fd=directory)

    def directory(self, path: str) -> Path:
        """A directory of the sandbox to run a command in; `NotFound` or `Denied` as for files."""
        pure = self.relative(path)
        with self._directory(pure.parts, make=False, shown=path):
            return self.root / pure

    def files(self, below: str = ".") -> Iterator[str]:
        """The regular files below a directory, sorted, without git's and generated ones.

        Raises:
            TooLarge: there are more than `FILES_MAX`.
        """
        start = self.relative(below)
        with self._directory(start.parts, make=False, shown=below) as top:
            seen = 0
            for base, directories, names, descriptor in os.fwalk(
                ".", dir_fd=top, follow_symlinks=False
            ):
                directories[:] = sorted(d for d in directories if not _left_out(d))
                for name in sorted(names):
                    status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        seen += 1
                        if seen > FILES_MAX:
                            raise TooLarge(f"There are more than {FILES_MAX} files.", where=below)
                        yield (start / base / name).as_posix()

    def snapshot(self) -> dict[str, str]:
        """A digest for every file, to tell afterwards which ones changed."""
        return {path: self._digest(path) for path in self.files()}

    def _digest(self, path: str) -> str:
        with self._parent(path) as (directory, name):
            try:
                with os.fdopen(os.open(name, _READ, dir_fd=directory), "rb") as file:
                    status = os.fstat(file.fileno())
                    if status.st_size > HASHED_MAX_BYTES:
                        return f"{status.st_size}:{status.st_mtime_ns}"
                    return hashlib.file_digest(file, "blake2b").hexdigest()
            except OSError as error:
                return f"unreadable:{error.errno}"

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The open directory that holds `path`, and the name in it."""
        pure = self.relative(path)
        if not pure.parts:
            raise Denied(f"{path!r} is the sandbox itself, not a file in it.")
        with self._directory(pure.parts[:-1], make=make, shown=path) as directory:
            yield directory, pure.name

    @contextmanager
    def _directory(self, parts: tuple[str, ...], *, make: bool, shown: str) -> Iterator[int]:
        current = os.open(self.root, _DIRECTORY)
        try:
            for part in parts:
                with _said_well(shown):
                    if make:
                        with suppress(FileExistsError):
                            os.mkdir(part, dir_fd=current)
                    following = os.open(part, _DIRECTORY, dir_fd=current)
                os.close(current)
                current = following
            yield current
        finally:
            os.close(current)


def changed_paths(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The paths that were added, removed or have another digest, sorted."""
    return sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))


def _left_out(directory: str) -> bool:
    return directory.casefold() == GIT or directory in GENERATED


def _mode_to_keep(name: str, directory: int, shown: str) -> int:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return 0o644
    if not stat.S_ISREG(status.st_mode):
        raise Denied(f"{shown!r} is a link or not a regular file; it is not written.")
    return stat.S_IMODE(status.st_mode) & 0o777


@contextmanager
def _said_well(path: str) -> Iterator[None]:
    """Say the system's error about `path` in the product's words."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"There is no file {path!r} in the sandbox.", where="path") from None
    except (NotADirectoryError, IsADirectoryError):
        raise Denied(f"{path!r} is not where a file can be: check each part.") from None
    except OSError as error:
        # ELOOP: the last component is a symbolic link and was not followed.
        raise Denied(f"{path!r} cannot be opened here: {error.strerror}.") from None
