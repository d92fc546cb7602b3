"""A lock that holds between tasks of this process and between processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from quarterdeck.core.errors import Conflict

TIMEOUT_S = 1800.0
_POLL_S = 0.02


class SharedLock:
    """One holder at a time, among tasks (asyncio) and processes (`flock` on `path`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def hold(self, timeout_s: float = TIMEOUT_S) -> AsyncIterator[None]:
        """Wait for the lock, hold it for the block; raise `Conflict` after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._lock.acquire()
        except TimeoutError:
            raise self._busy() from None
        try:
            descriptor = await self._take_file(timeout_s)
            try:
                yield
            finally:
                os.close(descriptor)
        finally:
            self._lock.release()

    async def _take_file(self, timeout_s: float) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            async with asyncio.timeout(timeout_s):
                while not _try_lock(descriptor):  # noqa: ASYNC110 - other processes set no event
                    await asyncio.sleep(_POLL_S)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise
        return descriptor

    def _busy(self) -> Conflict:
        return Conflict(
            "Another task has held the repository for too long.",
            where=self._path.parent.name,
            hint="Try again when it has finished.",
        )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
