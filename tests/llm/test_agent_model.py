"""Models for agents with tools: every request is a call of the gateway."""

from __future__ import annotations

import pytest

from quarterdeck.core.errors import Denied, NotFound
from quarterdeck.llm.agent_model import agent_model
from quarterdeck.llm.port import Limits, ModelFailed, ModelRef
from tests.llm.conftest import CLOUD, MODEL

REF = ModelRef("mentor", MODEL)
CALL = {"name": "look", "arguments": {"at": "x"}}


async def run(bench, **options):
    from pydantic_ai import Agent

    model = await agent_model(bench.gateway, options.pop("ref", REF), purpose="test", **options)

    def look(at: str) -> str:
        return f"saw {at}"

    return await Agent(model, tools=[look]).run("Look.")


async def test_every_request_of_an_agent_is_recorded(bench) -> None:
    box = bench([{"nth": 1, "tool_calls": [CALL]}, {"nth": 1, "text": "I saw it."}])
    result = await run(box)
    assert result.output == "I saw it."
    assert [(use.purpose, use.outcome) for use in box.usages] == [("test", "ok")] * 2
    assert all(use.input_tokens and use.duration_s > 0 for use in box.usages)
    assert box.server.chats()[1]["messages"][-1]["content"] == "saw x"


async def test_a_cloud_model_is_refused_before_anything_is_sent(bench) -> None:
    box = bench([{"text": "hello"}])
    with pytest.raises(Denied):
        await run(box, ref=ModelRef("mentor", CLOUD))
    assert box.server.received == []
    assert (await run(box, ref=ModelRef("mentor", CLOUD), allow_cloud=True)).output == "hello"


async def test_an_unknown_provider_is_named(bench) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        await run(bench(), ref=ModelRef("nowhere", "x"))


async def test_a_fault_is_told_in_our_words_and_recorded(bench) -> None:
    box = bench([{"error": {"status": 500, "message": "out of memory"}}])
    with pytest.raises(ModelFailed, match="out of memory"):
        await run(box)
    assert [use.outcome for use in box.usages] == ["failed"]


async def test_a_model_that_hangs_is_given_up(bench) -> None:
    box = bench([{"hang": True}], limits=Limits(total_s=0.3, retries=0))
    with pytest.raises(ModelFailed, match=r"did not finish within 0.3 s"):
        await run(box)


async def test_streams_are_refused_because_nobody_would_record_them(bench) -> None:
    box = bench([{"text": "hello"}])
    from pydantic_ai import Agent

    model = await agent_model(box.gateway, REF, purpose="test")
    with pytest.raises(ModelFailed):
        async with Agent(model).run_stream("Hello.") as streamed:
            await streamed.get_output()
