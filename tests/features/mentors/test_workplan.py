"""The plan as a graph, and its document."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.errors import InvalidPlan
from quarterdeck.features.mentors.template import template_plan
from quarterdeck.features.mentors.workplan import (
    Draft,
    Phase,
    Task,
    WorkPlan,
    check,
    document,
    duration_text,
    plan_of,
)

pytestmark = pytest.mark.req("ORC-5")

NAMES = [f"t{n}" for n in range(12)]


@st.composite
def plans(draw):
    """Any valid plan: at least one task per phase, needs only on what comes before."""
    tasks: list[Task] = []
    for phase in Phase:
        for _ in range(draw(st.integers(1, 3))):
            earlier = [task.id for task in tasks]
            needs = (
                draw(st.lists(st.sampled_from(earlier), unique=True, max_size=4)) if earlier else []
            )
            tasks.append(
                Task(
                    id=NAMES[len(tasks)],
                    phase=phase,
                    description=draw(st.text(min_size=1, max_size=40)),
                    needs=tuple(needs),
                    estimate_min=draw(st.none() | st.integers(1, 480)),
                    files=tuple(draw(st.lists(st.sampled_from(["a.py", "src/b.py"]), max_size=2))),
                    tests=tuple(draw(st.lists(st.sampled_from(["test_a", "test b"]), max_size=2))),
                )
            )
    return WorkPlan(technical_approach=draw(st.text(min_size=1, max_size=99)), tasks=tuple(tasks))


def task(id: str, phase: Phase, *needs: str) -> Task:
    return Task(id=id, phase=phase, description="do", needs=needs)


def plan(*tasks: Task) -> WorkPlan:
    return WorkPlan(technical_approach="so", tasks=tasks)


FOUR = (
    task("a", Phase.SETUP),
    task("b", Phase.IMPLEMENTATION, "a"),
    task("c", Phase.TESTING, "b"),
    task("d", Phase.VERIFICATION, "c"),
)


@given(plans())
def test_graph_and_document_are_the_same_thing(graph):
    check(graph)
    through_json = orjson.loads(orjson.dumps(document(graph)))
    assert plan_of(through_json) == graph
    assert document(plan_of(through_json)) == document(graph)


def test_the_document_has_the_published_shape():
    found = document(plan(*FOUR))
    assert list(found) == ["phases", "technical_approach", "dependencies"]
    assert [phase["name"] for phase in found["phases"]] == list(Phase)
    assert set(found["phases"][0]) == {"name", "description", "estimated_time", "tasks"}
    assert found["dependencies"] == [
        {"task": "b", "needs": "a"},
        {"task": "c", "needs": "b"},
        {"task": "d", "needs": "c"},
    ]


@pytest.mark.parametrize(
    ("tasks", "problem"),
    [
        ((*FOUR, task("a", Phase.VERIFICATION)), "the id 'a' is used twice"),
        ((*FOUR[:3], task("d", Phase.VERIFICATION, "z")), "d needs 'z', which is not a task"),
        ((*FOUR[:3], task("d", Phase.VERIFICATION, "d")), "d needs itself"),
        ((task("a", Phase.SETUP, "b"), *FOUR[1:]), r"a \(setup\) needs 'b' of a later phase"),
        (FOUR[:3], "the phase verification has no task"),
        (tuple(reversed(FOUR)), "out of order"),
        (
            (*FOUR[:3], FOUR[3].model_copy(update={"files": ("src/../../x",)})),
            "d names 'src/../../x', which is outside",
        ),
        (
            (
                FOUR[0],
                task("b", Phase.IMPLEMENTATION, "e"),
                task("e", Phase.IMPLEMENTATION, "b"),
                *FOUR[2:],
            ),
            "the needs form a cycle: b → e → b",
        ),
    ],
)
def test_what_is_wrong_is_said_concretely(tasks, problem):
    with pytest.raises(InvalidPlan, match=problem):
        check(plan(*tasks))


def test_everything_wrong_is_said_at_once():
    with pytest.raises(InvalidPlan, match=r"used twice.*not a task.*no task"):
        check(plan(FOUR[0], task("a", Phase.SETUP, "z")))


def test_a_draft_gives_the_graph_of_its_lists():
    one = {"description": "do", "estimate_min": 5}
    draft = Draft.model_validate(
        {"technical_approach": "so"} | {phase: [{"id": phase[:4], **one}] for phase in Phase}
    )
    assert [(t.id, t.phase.value) for t in draft.plan().tasks] == [(p[:4], p.value) for p in Phase]


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        ([], "unknown"),
        ([None, 5], "unknown"),
        ([5, 40], "45 min"),
        ([60], "1 h"),
        ([65, 60], "2 h 5 min"),
    ],
)
def test_a_sum_with_an_unknown_part_is_unknown(minutes, text):
    assert duration_text(minutes) == text


@given(st.text(min_size=1, max_size=400).filter(str.strip), st.lists(st.text(max_size=300)))
def test_a_template_plan_is_always_valid(brief, wishes):
    graph = template_plan(brief, {"must_have": wishes}, {})
    check(graph)
    assert plan_of(document(graph)) == graph


def test_a_template_plan_uses_what_the_mentors_agreed_on():
    consensus = {
        "quote": {"model": "m", "text": "Use <= in the bound.", "basis": "token-set", "out_of": 2},
        "files": [
            {"name": "src/range.py", "mentors": 2},
            {"name": "../../etc/passwd", "mentors": 1},
        ],
        "tests": [{"name": "test_upper_bound", "mentors": 1}],
    }
    graph = template_plan("Fix range", {"must_have": ["keep the API"]}, consensus)
    change = next(t for t in graph.tasks if t.id == "change")
    assert graph.technical_approach == "Use <= in the bound."
    assert change.files == ("src/range.py",)
    assert any("keep the API" in t.description for t in graph.tasks)
    assert all(t.estimate_min is None for t in graph.tasks)
