"""What people are told when a mission is done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.clock import SystemClock, iso
from quarterdeck.core.events import EventType
from quarterdeck.core.mission import Mission
from quarterdeck.core.plan import Plan, StepSpec
from quarterdeck.core.step import Done, Effect, StepKind
from quarterdeck.engine.engine import Engine
from quarterdeck.features.notify import STEPS
from quarterdeck.features.notify.message import ARTIFACTS_MAX, notification
from quarterdeck.storage.db import Database
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log

pytestmark = pytest.mark.req("ORC-10", "ORC-13")

REPORT = {"name": "report", "sha256": "a" * 64, "media_type": "application/json", "size": 3}
PROOF = {"passed": True, "counts": {"passed": 12, "failed": 0, "skipped": 1}, "report": REPORT}


def test_the_last_proof_decides_and_its_own_counts_are_told():
    found = notification("m1", "Fix it\nplease", {"verify": {"passed": False}, "verify_2": PROOF})
    assert found["tests_passed"] is True
    assert found["proof"] == "verify_2"
    assert found["message"] == (
        "Fix it (m1): The tests passed. Counted: 12 passed, 0 failed, 1 skipped."
    )
    assert found["artifacts_available"] is True
    assert [a["sha256"] for a in found["artifacts"]] == ["a" * 64]


@pytest.mark.parametrize(
    "outputs", [{}, {"baseline": {"passed": True}}, {"verify": {"passed": None}}]
)
def test_what_nothing_has_shown_is_not_claimed(outputs):
    found = notification("m1", "Fix it", outputs)
    assert found["tests_passed"] is None
    assert found["artifacts_available"] is False
    assert found["message"] == "Fix it (m1): Nothing has shown whether the tests pass."


def test_a_failing_proof_is_told_as_one():
    found = notification("m1", "Fix it", {"verify": {"passed": False}})
    assert found["tests_passed"] is False
    assert "did not pass" in found["message"]


def test_artifacts_are_listed_once_and_not_without_end():
    many = [{"name": str(n), "sha256": f"{n % 60:064d}"} for n in range(500)]
    assert len(notification("m1", "x", {"a": {"files": many}})["artifacts"]) == ARTIFACTS_MAX


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.text(max_size=6),
        st.dictionaries(st.sampled_from(["passed", "counts", "x"]), JSON, max_size=3),
        max_size=4,
    )
)
def test_any_outputs_give_a_message(outputs):
    found = notification("m1", "Fix it", outputs)
    assert found["tests_passed"] in (True, False, None)
    assert found["mission_id"] == "m1"


async def test_the_fact_is_recorded_with_its_documented_payload(tmp_path):
    async def verify(ctx) -> Done:
        return Done(PROOF)

    directory = DataDirectory(tmp_path)
    directory.create()
    db = Database(directory.journal)
    log = Log(db)
    kinds = [*STEPS, StepKind("verify", verify, Effect.PURE)]
    engine = Engine(log, directory, kinds, report=lambda line: None)
    await engine.start()
    steps = (
        StepSpec(id="verify", kind="verify"),
        StepSpec(id="notify", kind="notify", needs=("verify",)),
    )
    at = iso(SystemClock().now())
    asked = Mission(
        id="m1", workspace="default", brief="Fix it", created_by="user:owner", created_at=at
    )
    await engine.submit(asked, Plan(recipe="test", steps=steps))
    run = await engine.ended(("default", "m1"))
    events = [recorded.event for recorded in await engine.events(("default", "m1"))]
    await engine.stop()
    await log.close()
    db.close()
    (sent,) = [e for e in events if e.type is EventType.MISSION_NOTIFICATION_SENT]
    assert {"mission_id", "tests_passed", "artifacts_available", "message"} <= set(sent.data)
    assert run.outputs()["notify"]["tests_passed"] is True
