"""A real small model, decoded under the real grammar, comes to an end and fits the schema."""

from __future__ import annotations

import pytest

from quarterdeck.features.mentors import Mentors, MentorSettings
from quarterdeck.llm.bundled import MODEL, Bundled, unavailable_because
from quarterdeck.llm.gateway import Gateway
from tests.features.mentors.building import finished


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.req("ORC-3", "ORC-4")
@pytest.mark.skipif(unavailable_because() is not None, reason="the bundled model is not installed")
async def test_the_bundled_model_gives_an_opinion_that_fits(tmp_path):
    gateway = Gateway([Bundled(threads=1)], on_usage=lambda usage: None)

    async def installed():
        return [MODEL]

    try:
        mentors = Mentors(gateway, installed, MentorSettings(mentor_timeout_s=240))
        done = await finished(tmp_path, mentors)
    finally:
        await gateway.aclose()
    (answer,) = done.outputs("consult")["answers"]
    assert answer["error"] is None
    assert len(answer["opinions"]) == 1
    assert answer["demonstration"] is True
    assert done.outputs("agree")["status"] == "no_consensus"
    assert done.outputs("plan")["degraded"] is True
