"""The gateway over real HTTP: answers, limits, faults, refusals, and a record of every call."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing
from decimal import Decimal

import pytest
from pydantic_ai import models

from quarterdeck.core.errors import Denied, InvalidInput, NotFound, TooLarge
from quarterdeck.llm.configured import provider_for
from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import Delta, Limits, Message, ModelFailed, ModelRef, Reply, Request
from quarterdeck.llm.providers.settings import ProviderSettings
from quarterdeck.llm.scripted import tokens_in
from tests.llm.conftest import CLOUD, MODEL, QUICK

KINDS = ["ollama", "openai_compatible"]
SCHEMA = {
    "type": "object",
    "properties": {"risk": {"type": "string", "enum": ["low", "high"]}},
    "required": ["risk"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.req("ORC-4")
async def test_an_answer_comes_with_what_it_took(bench, kind):
    it = bench([{"text": "Restart the pump."}], kind=kind)
    reply = await it.ask(messages=(Message("system", "Be brief."), Message("user", "The pump?")))
    assert reply.text == "Restart the pump."
    assert (reply.model, reply.provider) == (MODEL, "mentor")
    assert (reply.input_tokens, reply.output_tokens) == (4, len(tokens_in(reply.text)))
    assert reply.finish_reason == "stop"
    assert 0 < reply.first_chunk_s <= reply.duration_s
    assert (reply.price, reply.cost_basis) == (None, "local")
    assert reply.local
    assert not reply.demonstration
    (usage,) = it.usages
    assert (usage.outcome, usage.attempts, usage.purpose) == ("ok", 1, "test")
    assert (usage.input_tokens, usage.output_tokens) == (reply.input_tokens, reply.output_tokens)
    assert usage.as_json()["model"] == f"mentor/{MODEL}"


async def test_the_pieces_of_a_stream_make_up_the_answer(bench):
    it = bench([{"text": "one two three", "piece_delay_s": 0.02}])
    parts = [part async for part in it.gateway.stream(it.request(), purpose="test")]
    assert [part.text for part in parts if isinstance(part, Delta)] == ["one", " two", " three"]
    assert isinstance(parts[-1], Reply)
    assert parts[-1].text == "one two three"
    assert parts[-1].duration_s >= 0.04
    assert parts[-1].first_chunk_s < parts[-1].duration_s


async def test_a_stream_that_is_closed_early_stops_and_is_recorded(bench):
    it = bench([{"text": "word", "endless": True, "piece_delay_s": 0.01}])
    async with aclosing(it.gateway.stream(it.request(), purpose="test")) as parts:
        await anext(parts)
    assert [usage.outcome for usage in it.usages] == ["cancelled"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.req("ORC-4")
async def test_the_schema_reaches_the_server_unchanged_and_the_answer_is_parsed(bench, kind):
    it = bench([{"json": {"risk": "low"}}], kind=kind)
    reply = await it.ask(schema=SCHEMA, max_tokens=99, temperature=0.7, seed=5)
    assert (reply.parsed, reply.problem) == ({"risk": "low"}, None)
    (sent,) = it.server.chats()
    assert sent["response_format"]["json_schema"]["schema"] == SCHEMA
    # A limit under any other name would be ignored by the servers of small models.
    assert (sent["max_tokens"], sent["temperature"], sent["seed"]) == (99, 0.7, 5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"risk": "mid"}', "answer.risk: 'mid' is not one of"),
        ('{"risk": "lo', "it is not JSON"),
        ("I think it is low.", "it is not JSON"),
    ],
)
async def test_an_answer_that_does_not_fit_is_kept_with_its_problem(bench, text, problem):
    it = bench([{"text": text}])
    reply = await it.ask(schema=SCHEMA)
    assert reply.text == text
    assert reply.parsed is None
    assert problem in reply.problem
    assert it.usages[0].outcome == "ok"


async def test_an_answer_in_a_fence_is_understood(bench):
    it = bench([{"text": '```json\n{"risk": "high"}\n```'}])
    assert (await it.ask(schema=SCHEMA)).parsed == {"risk": "high"}


async def test_log_probabilities_come_when_asked_for(bench):
    it = bench([{"text": "yes indeed", "logprob": -0.25}])
    asked = await it.ask(logprobs=True)
    assert [(t.token, t.logprob) for t in asked.logprobs] == [("yes", -0.25), (" indeed", -0.25)]
    assert (await it.ask()).logprobs is None


async def test_tokens_that_are_not_reported_are_unknown(bench):
    it = bench([{"text": "hello", "report_usage": False}])
    reply = await it.ask()
    assert (reply.input_tokens, reply.output_tokens) == (None, None)


@pytest.mark.req("TEL-4")
async def test_a_local_model_costs_its_compute_time(bench):
    rule = {"text": "hello", "timings": {"prompt_ms": 1500, "predicted_ms": 300}}
    it = bench([rule], host_rate=Decimal(2))
    reply = await it.ask()
    assert reply.compute_s == pytest.approx(1.8)
    assert reply.price == Decimal("0.001")
    assert (reply.currency, reply.cost_basis) == ("USD", "local")


@pytest.mark.req("TEL-4")
async def test_without_a_report_the_time_of_the_call_counts(bench):
    it = bench([{"text": "hello", "delay_s": 0.1}], host_rate=Decimal(36))
    reply = await it.ask()
    assert reply.compute_s is None
    assert reply.price == pytest.approx(Decimal(reply.duration_s) / 100)


@pytest.mark.req("ORC-3")
@pytest.mark.parametrize(
    ("settings", "model"),
    [
        ({"kind": "openai", "api_key": "k"}, "openai/gpt-5"),
        ({"kind": "google", "api_key": "k"}, "google/gemini-3-pro"),
        ({"kind": "anthropic", "api_key": "k"}, "anthropic/claude-haiku"),
        ({"kind": "ollama"}, "ollama/gpt-oss:120b-cloud"),
        ({"kind": "openai_compatible", "base_url": "https://m.example.com"}, "gate/llama3"),
    ],
)
async def test_a_cloud_model_is_refused_before_any_use_of_the_network(
    bench, monkeypatch, settings, model
):
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", False)
    it = bench()
    ref = ModelRef.parse(model)
    settings = {"base_url": it.server.url} | settings
    provider = provider_for(ProviderSettings(ref.provider, **settings))
    gateway = Gateway([provider], on_usage=it.usages.append)
    request = Request(ref, (Message("user", "hello"),))
    with pytest.raises(Denied) as caught:
        await gateway.complete(request, purpose="mentor")
    with pytest.raises(Denied):
        await gateway.embed(["hello"], ref)
    assert model in str(caught.value)
    assert "rule llm.local-only" in str(caught.value)
    assert it.server.received == []
    assert [(u.outcome, u.local, u.price) for u in it.usages] == [("denied", False, None)] * 2


async def test_a_cloud_model_answers_where_the_workspace_allows_it(bench):
    it = bench([{"text": "hello"}], kind="openai_compatible")
    request = Request(ModelRef("mentor", CLOUD), (Message("user", "hello"),))
    reply = await it.gateway.complete(request, purpose="test", allow_cloud=True)
    assert not reply.local
    assert (reply.price, reply.cost_basis) == (None, "unknown")


async def test_an_unknown_provider_is_named(bench):
    it = bench()
    request = Request(ModelRef("nobody", "x"), (Message("user", "hello"),))
    with pytest.raises(NotFound, match="Configured: mentor"):
        await it.gateway.complete(request, purpose="test")
    assert it.usages[0].outcome == "failed"


FAULTS = [
    ({"error": {"status": 500, "message": "out of memory"}}, "http", "out of memory"),
    ({"error": {"status": 404}}, "http", "status 404"),
    ({"error": {"status": 302, "headers": {"location": "http://127.0.0.1:9"}}}, "garbage", "302"),
    ({"garbage": "\x00\xff\xfe not an answer"}, "garbage", "not an answer"),
    ({"garbage": "data: 42\n\ndata: [DONE]\n\n"}, "garbage", "not an answer"),
    ({"garbage": 'data: {"choices": "no"}\n\n'}, "garbage", "not an answer"),
    ({"garbage": "<html>Welcome</html>"}, "garbage", "not an answer"),
    ({"garbage": ""}, "garbage", "not an answer"),
    ({"text": "one two three", "drop": True, "after": 2}, "dropped", "in the middle"),
    ({"hang": True}, "timeout", "did not say anything within 0.3 s"),
    ({"text": "one two", "hang": True, "after": 1}, "timeout", "did not finish within 0.6 s"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rule", "failure", "words"), FAULTS, ids=lambda v: str(v)[:24])
@pytest.mark.req("ORC-3")
async def test_a_broken_model_is_told_in_our_words(bench, kind, rule, failure, words):
    it = bench([rule], kind=kind)
    limits = dataclasses.replace(QUICK, first_chunk_s=0.3, total_s=0.6)
    with pytest.raises(ModelFailed) as caught:
        await it.ask(limits=limits)
    assert caught.value.kind == failure
    assert words in caught.value.message
    assert caught.value.where == f"model mentor/{MODEL}"
    (usage,) = it.usages
    assert (usage.outcome, usage.attempts) == ("failed", 1)
    assert words in usage.error
    assert len(it.server.chats()) == 1


async def test_a_model_that_talks_for_ever_is_cut(bench):
    it = bench([{"text": "and", "endless": True, "piece_words": 4}])
    reply = await it.ask(max_tokens=20)
    assert reply.finish_reason == "cut"
    assert len(reply.text) < 2000
    assert (reply.input_tokens, reply.output_tokens) == (None, None)
    assert it.usages[0].outcome == "cut"


async def test_an_answer_of_too_many_bytes_is_cut(bench):
    it = bench([{"text": "word " * 100, "endless": True, "piece_words": 100}])
    reply = await it.ask(limits=dataclasses.replace(QUICK, output_bytes=2000), max_tokens=9999)
    assert reply.finish_reason == "cut"
    assert 0 < len(reply.text.encode()) <= 2000


async def test_a_body_without_an_end_is_not_swallowed(bench):
    it = bench([{"garbage": "x" * (9 * 1024 * 1024)}])
    with pytest.raises(ModelFailed) as caught:
        await it.ask()
    assert caught.value.kind == "too_large"


async def test_a_server_that_is_gone_is_tried_twice(bench):
    it = bench([{"text": "hello"}])
    await it.ask()
    it.server.__exit__(None, None, None)
    with pytest.raises(ModelFailed) as caught:
        await it.ask()
    assert caught.value.kind == "connection"
    assert it.usages[-1].attempts == 2


async def test_a_connection_that_gave_nothing_is_tried_again(bench):
    it = bench([{"drop": True, "nth": 1}, {"text": "hello"}])
    reply = await it.ask()
    assert reply.text == "hello"
    assert it.usages[0].attempts == 2


async def test_no_more_calls_run_at_once_than_the_provider_takes(bench):
    it = bench([{"text": "done", "delay_s": 0.15}], concurrency=1)
    await it.ask()
    replies = await asyncio.gather(it.ask(), it.ask(), it.ask())
    assert all(reply.duration_s < 0.3 for reply in replies)
    assert max(usage.queued_s for usage in it.usages[1:]) > 0.25


async def test_waiting_for_a_busy_provider_ends(bench):
    it = bench([{"text": "done", "delay_s": 0.5}], concurrency=1)
    await it.ask()
    short = dataclasses.replace(QUICK, queue_s=0.1)
    with pytest.raises(ModelFailed, match=r"not free within 0\.1 s"):
        await asyncio.gather(it.ask(), it.ask(limits=short))
    await asyncio.sleep(0.6)


async def test_a_prompt_over_the_limit_is_not_sent(bench):
    it = bench()
    with pytest.raises(TooLarge, match="11 bytes; 10 is the limit"):
        await it.ask("hello world", limits=dataclasses.replace(QUICK, prompt_bytes=10))
    assert it.server.received == []


async def test_embeddings_come_one_for_each_text(bench):
    it = bench()
    found = await it.gateway.embed(["the pump", "pump the"], ModelRef("mentor", MODEL))
    assert (len(found.vectors), found.dimensions) == (2, 32)
    assert found.vectors[0] == pytest.approx(found.vectors[1])
    assert found.input_tokens == 4
    assert (it.usages[0].operation, it.usages[0].input_tokens) == ("embeddings", 4)


@pytest.mark.parametrize("texts", [[], ["x", " "], ["x"] * 513])
async def test_texts_that_cannot_be_embedded_are_refused(bench, texts):
    it = bench()
    with pytest.raises(InvalidInput):
        await it.gateway.embed(texts, ModelRef("mentor", MODEL))
    assert it.server.received == []


async def test_a_step_can_have_its_own_record(bench):
    it = bench([{"text": "hello"}])
    mine = []
    await it.gateway.reporting_to(mine.append).complete(it.request(), purpose="step")
    assert [usage.purpose for usage in mine] == ["step"]
    assert it.usages == []


@pytest.mark.req("ORC-3")
async def test_a_broken_mentor_does_not_hold_up_the_others(bench):
    rules = [
        {"match": "hang", "hang": True},
        {"match": "drop", "text": "a b", "drop": True, "after": 1},
        {"text": "fine"},
    ]
    it = bench(rules, concurrency=8)
    await it.ask()
    limits = Limits(first_chunk_s=0.5, total_s=0.5)
    asked = (it.ask(word, limits=limits) for word in ("hang", "drop", "one", "two"))
    hang, drop, one, two = await asyncio.gather(*asked, return_exceptions=True)
    assert (hang.kind, drop.kind) == ("timeout", "dropped")
    assert (one.text, two.text) == ("fine", "fine")
    assert one.duration_s < 0.4
