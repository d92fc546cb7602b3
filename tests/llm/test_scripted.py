"""The scripted model server: rules, protocol, faults, and running it as a command."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.llm.scripted import ScriptedServer
from quarterdeck.llm.scripted_rules import Chooser, script_from, script_in


def _said(*texts: str) -> list[dict]:
    return [{"role": "user", "content": text} for text in texts]


def test_the_first_rule_that_matches_answers():
    script = script_from(
        [
            {"model": "^qwen", "text": "a"},
            {"match": "(?i)plan", "nth": 2, "text": "b"},
            {"match": "(?i)plan", "text": "c"},
            {"match": "hello", "where": "any", "text": "d"},
        ]
    )
    chooser = Chooser(script)
    chosen = [
        chooser.choose("qwen2.5", _said("Plan")),
        chooser.choose("llama", _said("Plan")),
        chooser.choose("llama", _said("Plan")),
        chooser.choose("llama", _said("hello", "bye")),
        chooser.choose("llama", _said("bye")),
    ]
    assert [rule.text if rule else None for rule in chosen] == ["a", "c", "b", "d", None]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([{"txt": "x"}], "rules.0.txt"),
        ([{"match": "("}], "not a regular expression"),
        ([{"delay_s": -1}], "rules.0.delay_s"),
        ({"rulez": []}, "rulez"),
    ],
)
def test_a_script_that_does_not_fit_is_refused_by_name(script, words):
    with pytest.raises(InvalidInput, match=words.replace(".", r"\.")):
        script_from(script)


@pytest.mark.parametrize("content", [b"rules: [", b"just text", b"\xff\xfe\x00", b""])
def test_a_file_without_a_script_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "rules.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        script_in(path)
    assert caught.value.where == str(path)


def test_a_file_that_is_not_there_or_too_big_is_refused(tmp_path: Path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        script_in(tmp_path / "none.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * 1_100_000)
    with pytest.raises(TooLarge):
        script_in(tmp_path / "big.yaml")


async def test_the_official_client_understands_it():
    rules = [
        {"match": "weather", "tool_calls": [{"name": "look", "arguments": {"at": "sea"}}]},
        {"text": "one two three four"},
    ]
    async with ScriptedServer(rules) as server:
        client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x")
        whole = await client.chat.completions.create(model="scripted", messages=_said("hi"))
        assert whole.choices[0].message.content == "one two three four"
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (1, 4)
        short = await client.chat.completions.create(
            model="scripted", messages=_said("hi"), max_tokens=2, logprobs=True
        )
        assert (short.choices[0].message.content, short.choices[0].finish_reason) == (
            "one two",
            "length",
        )
        assert len(short.choices[0].logprobs.content) == 2
        tools = await client.chat.completions.create(model="scripted", messages=_said("weather"))
        assert tools.choices[0].finish_reason == "tool_calls"
        assert tools.choices[0].message.tool_calls[0].function.arguments == '{"at":"sea"}'
        assert [m.id async for m in client.models.list()] == ["scripted"]
        await client.close()


async def test_an_agent_with_tools_runs_against_it():
    rules = [
        {"match": "sea level", "tool_calls": [{"name": "measure", "arguments": {"place": "pier"}}]},
        {"match": "42", "where": "last", "text": "It is 42 cm."},
    ]
    async with ScriptedServer(rules) as server:
        client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x")
        provider = OpenAICompatibleProvider("scripted", openai_client=client)
        agent = Agent(OpenAIChatModel("scripted", provider=provider))
        places = []

        @agent.tool_plain
        def measure(place: str) -> str:
            places.append(place)
            return "42 cm"

        result = await agent.run("What is the sea level?")
        await client.close()
    assert (result.output, places) == ("It is 42 cm.", ["pier"])


async def test_what_no_rule_expects_is_an_error_that_says_so():
    async with ScriptedServer([{"match": "hello"}]) as server, httpx2.AsyncClient() as client:
        url = f"{server.url}/v1/chat/completions"
        answers = [
            await client.post(url, json={"model": "scripted", "messages": _said("bye")}),
            await client.post(url, json={"model": "other", "messages": _said("hello")}),
            await client.post(url, content=b"{"),
            await client.post(url, json=[]),
            await client.post(f"{server.url}/v1/embeddings", json={}),
        ]
    assert [answer.status_code for answer in answers] == [400, 404, 400, 400, 400]
    assert "No rule" in answers[0].json()["error"]["message"]
    assert all(answer.headers["x-quarterdeck-scripted"] == "1" for answer in answers)


async def test_hanging_calls_do_not_keep_it_from_stopping():
    async with ScriptedServer([{"hang": True}]) as server, httpx2.AsyncClient() as client:
        url = f"{server.url}/v1/chat/completions"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.post(url, json={"model": "scripted", "messages": _said("x")})


def test_it_runs_as_a_command(tmp_path: Path):
    path = tmp_path / "rules.yaml"
    path.write_text("models: [mini]\nrules:\n  - {match: pump, text: Restart it.}\n")
    command = [sys.executable, "-m", "quarterdeck.llm.scripted", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().split()[-1]
            body = {"model": "mini", "messages": _said("the pump")}
            answer = httpx2.post(f"{url}/v1/chat/completions", json=body).json()
        finally:
            process.terminate()
    assert answer["choices"][0]["message"]["content"] == "Restart it."


def test_the_command_refuses_a_script_that_does_not_fit(tmp_path: Path):
    path = tmp_path / "rules.yaml"
    path.write_text("rules: 3")
    command = [sys.executable, "-m", "quarterdeck.llm.scripted", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "rules" in result.stderr
    assert "Traceback" not in result.stderr
