"""A scripted model server: real HTTP, OpenAI's and Ollama's routes, answers by rule instead of a model.

For demonstrations and tests without any model; it says so in a header and in its list of models.
Run it with `python -m quarterdeck.llm.scripted rules.yaml --port 8000`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import math
import re
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from quarterdeck.core.errors import QuarterdeckError, Unavailable
from quarterdeck.core.events import Json
from quarterdeck.llm.scripted_rules import (
    Chooser,
    Rule,
    Script,
    content_of,
    script_from,
    script_in,
)

HEADER = "x-quarterdeck-scripted"
OWNER = "quarterdeck-scripted"
BODY_BYTES_MAX = 16 * 1024 * 1024
_FOREVER_S = 3600.0
_START_S = 10.0
_STOP_S = 10.0
_TOKEN = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in: its path, headers and JSON body (None for GET)."""

    path: str
    headers: Mapping[str, str]
    body: Json


class _Dropped(Exception):
    """Ends a stream without its proper end, so that the connection is closed."""


def tokens_in(text: str) -> list[str]:
    """The text in the scripted model's tokens: words with the blanks before them."""
    return _TOKEN.findall(text)


def app_for(script: Script, received: list[Received]) -> Starlette:
    """The server's routes; each request is appended to `received`."""
    return _Routes(script, received).app()


class _Routes:
    def __init__(self, script: Script, received: list[Received]) -> None:
        self._script = script
        self._received = received
        self._chooser = Chooser(script)

    def app(self) -> Starlette:
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/embeddings", self._embeddings, methods=["POST"]),
        ]
        if self._script.ollama:
            routes += [Route("/api/tags", self._tags), Route("/api/version", self._version)]
        return Starlette(routes=routes)

    def _note(self, request: Request, body: Json = None) -> None:
        self._received.append(Received(request.url.path, dict(request.headers), body))

    async def _body(self, request: Request) -> dict[str, Any] | None:
        content = await request.body()
        try:
            body = orjson.loads(content) if len(content) <= BODY_BYTES_MAX else None
        except orjson.JSONDecodeError:
            body = None
        self._note(request, body)
        return body if isinstance(body, dict) else None

    async def _models(self, request: Request) -> Response:
        self._note(request)
        data = [{"id": m, "object": "model", "owned_by": OWNER} for m in self._script.models]
        return _json({"object": "list", "data": data})

    async def _tags(self, request: Request) -> Response:
        self._note(request)
        models = [
            {"name": m, "model": m, "size": 0, "details": {"family": "scripted"}}
            for m in self._script.models
        ]
        return _json({"models": models})

    async def _version(self, request: Request) -> Response:
        self._note(request)
        return _json({"version": "0.0.0-scripted"})

    async def _embeddings(self, request: Request) -> Response:
        body = await self._body(request)
        if body is None or "input" not in body:
            return _error(400, "The body is not an embeddings request.")
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        data = [
            {"object": "embedding", "index": i, "embedding": _vector(t, self._script.dimensions)}
            for i, t in enumerate(map(str, texts))
        ]
        count = sum(len(tokens_in(str(t))) for t in texts)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return _json({"object": "list", "data": data, "model": body.get("model"), "usage": usage})

    async def _chat(self, request: Request) -> Response:
        body = await self._body(request)
        if body is None or not isinstance(body.get("messages"), list):
            return _error(400, "The body is not a chat request.")
        model = str(body.get("model", ""))
        if model not in self._script.models:
            return _error(404, f"The model {model!r} is not in the script.")
        rule = self._chooser.choose(model, body["messages"])
        if rule is None:
            return _error(400, "No rule of the script matches this request.")
        return await _answered(rule, _Turn(rule, body))


async def _answered(rule: Rule, turn: _Turn) -> Response:
    await asyncio.sleep(rule.delay_s)
    if rule.error is not None:
        return _error(rule.error.status, rule.error.message, rule.error.headers)
    if rule.hang and rule.after == 0:
        await asyncio.sleep(_FOREVER_S)
    if rule.garbage is not None:
        content = rule.garbage.encode("latin-1", errors="replace")
        return Response(content, media_type=turn.media_type, headers={HEADER: "1"})
    if turn.streams:
        return StreamingResponse(turn.events(), media_type=turn.media_type, headers={HEADER: "1"})
    return _json(turn.whole())


class _Turn:
    """One answer by a rule to one request."""

    def __init__(self, rule: Rule, body: Mapping[str, Any]) -> None:
        self._rule = rule
        self._body = body
        self.streams = bool(body.get("stream"))
        self.media_type = "text/event-stream" if self.streams else "application/json"
        text = rule.text if rule.json_value is None else orjson.dumps(rule.json_value).decode()
        tokens = tokens_in(text)
        limit = body.get("max_tokens") or body.get("max_completion_tokens")
        self._cut = not rule.endless and isinstance(limit, int) and len(tokens) > limit
        self._tokens = tokens[:limit] if self._cut else tokens

    def whole(self) -> dict[str, Json]:
        message: dict[str, Json] = {"role": "assistant", "content": "".join(self._tokens)}
        if self._rule.tool_calls:
            message["tool_calls"] = self._tool_calls()
        choice: dict[str, Json] = {
            "index": 0,
            "message": message,
            "finish_reason": self._finish_reason(),
        }
        choice["logprobs"] = self._logprobs(self._tokens)
        return self._frame("chat.completion", [choice], usage=self._rule.report_usage)

    async def events(self) -> AsyncIterator[bytes]:
        if self._rule.after == 0 and self._rule.drop:
            await self._break()
        yield self._event({"role": "assistant", "content": ""})
        for count, piece in enumerate(self._pieces()):
            if count >= self._rule.after and (self._rule.hang or self._rule.drop):
                await self._break()
            if count:
                await asyncio.sleep(self._rule.piece_delay_s)
            yield self._event({"content": "".join(piece)}, logprobs=self._logprobs(piece))
        if self._rule.hang or self._rule.drop:
            await self._break()
        if self._rule.tool_calls:
            yield self._event({"tool_calls": self._tool_calls()})
        yield self._event({}, finish_reason=self._finish_reason())
        wants_usage = (self._body.get("stream_options") or {}).get("include_usage")
        if wants_usage and self._rule.report_usage:
            yield _sse(self._frame("chat.completion.chunk", [], usage=True))
        yield b"data: [DONE]\n\n"

    async def _break(self) -> None:
        if self._rule.hang:
            await asyncio.sleep(_FOREVER_S)
        raise _Dropped

    def _pieces(self) -> Iterator[list[str]]:
        size = self._rule.piece_words
        tokens = self._tokens or [" again"]
        if self._rule.endless:
            tokens_for_ever = itertools.cycle(tokens)
            while True:
                yield list(itertools.islice(tokens_for_ever, size))
        for start in range(0, len(self._tokens), size):
            yield self._tokens[start : start + size]

    def _event(
        self, delta: dict[str, Json], *, finish_reason: str | None = None, logprobs: Json = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs}
        return _sse(self._frame("chat.completion.chunk", [choice], usage=False))

    def _frame(self, kind: str, choices: list[Json], *, usage: bool) -> dict[str, Json]:
        frame: dict[str, Json] = {
            "id": "chatcmpl-scripted",
            "object": kind,
            "created": 0,
            "model": self._body.get("model"),
            "choices": choices,
        }
        if usage:
            frame["usage"] = self._usage()
            if self._rule.timings is not None:
                frame["timings"] = self._rule.timings
        return frame

    def _usage(self) -> dict[str, int]:
        prompt = sum(len(tokens_in(content_of(m))) for m in self._body["messages"])
        completion = len(self._tokens)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def _finish_reason(self) -> str:
        if self._rule.finish_reason is not None:
            return self._rule.finish_reason
        if self._rule.tool_calls:
            return "tool_calls"
        return "length" if self._cut else "stop"

    def _tool_calls(self) -> list[dict[str, Json]]:
        return [
            {
                "index": i,
                "id": f"call_{i}",
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": orjson.dumps(call.arguments).decode(),
                },
            }
            for i, call in enumerate(self._rule.tool_calls)
        ]

    def _logprobs(self, tokens: Sequence[str]) -> Json:
        if not self._body.get("logprobs"):
            return None
        content: list[dict[str, Json]] = [
            {"token": t, "logprob": self._rule.logprob, "bytes": None, "top_logprobs": []}
            for t in tokens
        ]
        return {"content": content}


def _vector(text: str, dimensions: int) -> list[float]:
    """A unit vector that depends on the text's words alone: texts that share words are near."""
    sums = [0.0] * dimensions
    for word in text.lower().split() or [""]:
        digest = hashlib.shake_256(word.encode()).digest(dimensions)
        sums = [s + byte - 127.5 for s, byte in zip(sums, digest, strict=True)]
    length = math.sqrt(sum(s * s for s in sums))
    return [s / length for s in sums]


def _sse(value: Json) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _json(value: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(value, status, headers={HEADER: "1", **(headers or {})})


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return _json({"error": {"message": message, "type": "scripted"}}, status, headers)


class ScriptedServer:
    """A scripted model server on a free port of 127.0.0.1, in a thread of this process.

    Use it as an (async) context manager. `url` is its address without `/v1`; `received` lists the
    requests in order. Raises `Unavailable` when it does not start.
    """

    def __init__(
        self,
        rules: Script | Mapping[str, Json] | Sequence[Rule | Mapping[str, Json]] = (),
        *,
        models: Sequence[str] | None = None,
        port: int = 0,
    ) -> None:
        script = script_from(rules)
        if models is not None:
            script = script.model_copy(update={"models": tuple(models)})
        self.script = script
        self.received: list[Received] = []
        self._socket = _listener()
        self._port = port
        self._server = uvicorn.Server(_config(app_for(script, self.received)))
        self._thread = threading.Thread(target=self._run, name="scripted-models", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def chats(self) -> list[Json]:
        """The bodies of the chat requests received so far."""
        return [r.body for r in self.received if r.path == "/v1/chat/completions"]

    def __enter__(self) -> Self:
        self._socket.bind(("127.0.0.1", self._port))
        self._socket.listen()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(_STOP_S)
        self._socket.close()
        if self._thread.is_alive():
            raise Unavailable("The scripted model server did not stop.", where=self.url)

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])


def _listener() -> socket.socket:
    # The protocol is named so that asyncio turns Nagle's delay off: 40 ms per answer otherwise.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return listener


def _config(app: Starlette) -> uvicorn.Config:
    # Faults are part of the script: what the server logs about them would only alarm.
    return uvicorn.Config(
        app, host="127.0.0.1", log_config=None, log_level=60, timeout_graceful_shutdown=0
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a script until interrupted; 0, or 2 when the script does not fit."""
    parser = argparse.ArgumentParser(prog="python -m quarterdeck.llm.scripted", description=__doc__)
    parser.add_argument("rules", type=Path, help="the script, a YAML or JSON file")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    given = parser.parse_args(arguments)
    listener = _listener()
    try:
        script = script_in(given.rules)
        listener.bind(("127.0.0.1", given.port))
        listener.listen()
    except (QuarterdeckError, OSError, OverflowError) as error:
        listener.close()
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"Scripted models at http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(_config(app_for(script, []))).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
