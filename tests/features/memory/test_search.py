"""Finding what was remembered, whatever somebody types."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quarterdeck.features.memory.memory import kind_of
from quarterdeck.features.memory.search import TERMS_MAX, queries
from quarterdeck.features.memory.steps import LESSONS_MAX, lessons_from

pytestmark = pytest.mark.req("ORC-12")

LESSON = "mission_briefs/{}/lesson/lesson.json"
HOSTILE = [
    '"',
    "(",
    "a OR",
    "NOT",
    "col:x",
    "*",
    "a*",
    "^a",
    "NEAR(a b)",
    "'; DROP TABLE x",
    "%s",
    "-x",
]


async def test_every_word_comes_before_any_word_and_the_reason_is_given(library):
    await library.add(LESSON.format("m1"), {"problem": "The upload times out on large files."})
    await library.add(LESSON.format("m2"), {"problem": "Large fonts."}, mission="m2")
    await library.add(LESSON.format("m3"), {"problem": "Nothing alike."}, mission="m3")
    hits = await library.memory.search("default", "large files upload")
    assert [(hit.mission, hit.match) for hit in hits] == [("m1", "all"), ("m2", "any")]
    assert [hit.rank for hit in hits] == [1, 2]
    assert "«" in hits[0].snippet
    assert hits[0].score > 0
    assert hits[0].kind == "lesson"
    assert hits[0].age_days == pytest.approx(0, abs=0.1)
    assert hits[0].outcome is None


async def test_words_are_found_in_other_forms(library):
    await library.add(LESSON.format("m1"), {"problem": "Connections were failing."})
    assert await library.memory.search("default", "failed connection")


async def test_a_phrase_stays_a_phrase(library):
    await library.add("mentors/m1/a_response.json", {"text": "unlock the red door"})
    await library.add("mentors/m1/b_response.json", {"text": "the door is red"})
    hits = await library.memory.search("default", '"red door"')
    assert [hit.path for hit in hits] == ["mentors/m1/a_response.json"]


async def test_a_workspace_never_sees_another_one(library):
    await library.add(LESSON.format("m1"), {"problem": "secret plan"}, workspace="other")
    assert await library.memory.search("default", "secret plan") == []
    assert len(await library.memory.search("other", "secret plan")) == 1


@pytest.mark.parametrize("text", HOSTILE)
async def test_operators_are_only_words(library, text):
    await library.add(LESSON.format("m1"), {"problem": "a x b near not or"})
    await library.memory.search("default", text)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=80))
async def test_no_text_is_an_error(library, text):
    assert await library.memory.search("default", text) == []


@given(st.text(max_size=400))
def test_queries_are_bounded_and_start_with_every_word(text):
    found = queries(text)
    assert len(found) <= 2
    assert all(0 < len(query.terms) <= TERMS_MAX for query in found)
    assert [query.match for query in found] == ["all", "any"][: len(found)]


async def test_taking_in_the_same_artifact_again_changes_nothing(library):
    event = await library.add(LESSON.format("m1"), {"problem": "once"})
    before = await library.chunks()
    await library.memory.ingest(event)
    await library.add(LESSON.format("m1"), {"problem": "once"})
    assert await library.chunks() == before == 1


async def test_a_new_version_takes_the_place_of_the_old_one(library):
    await library.add(LESSON.format("m1"), {"problem": "ancient wording"})
    await library.add(LESSON.format("m1"), {"problem": "modern wording"})
    assert await library.memory.search("default", "ancient") == []
    assert len(await library.memory.search("default", "modern")) == 1


@pytest.mark.req("ORC-14")
async def test_what_is_not_text_is_remembered_by_name_only(library):
    await library.add("prototypes/m1/app_v1.zip", b"PK\x03\x04", media_type="application/zip")
    assert await library.memory.store.counts("default") == {"prototype": 1}
    assert await library.chunks() == 0


async def test_only_lessons_of_other_missions_are_recalled_one_per_mission(library):
    for n in range(1, LESSONS_MAX + 3):
        text = {"problem": f"range bound off by one {n}"}
        await library.add(LESSON.format(f"m{n}"), text, mission=f"m{n}")
    await library.add("mentors/m9/a_response.json", {"text": "range bound"}, mission="m9")
    await library.learnt("m2", "promoted")
    hits = await library.memory.search(
        "default", "range bound", kinds=("lesson",), without_mission="m1", limit=25
    )
    lessons = lessons_from(hits)
    assert len(lessons) == LESSONS_MAX
    missions = [lesson["mission"] for lesson in lessons]
    assert len(set(missions)) == LESSONS_MAX
    assert not {"m1", "m9"} & set(missions)
    assert {"promoted"} == {x["outcome"] for x in lessons if x["mission"] == "m2"}
    assert set(lessons[0]) >= {"text", "mission", "outcome", "age_days", "score"}


@pytest.mark.req("ORC-4")
async def test_outcomes_are_counted_by_kind_and_agreement_and_can_be_overturned(library):
    for mission, outcome in (("m1", "promoted"), ("m2", "promoted"), ("m3", "not_proved")):
        await library.learnt(mission, outcome)
    await library.learnt("m4", "proved")
    await library.learnt("m5", "promoted", agreement="unanimous")
    assert await library.memory.outcomes("default", "code", "majority") == (2, 3)
    await library.memory.overturn("default", "m1")
    assert await library.memory.outcomes("default", "code", "majority") == (1, 3)
    assert await library.memory.outcomes("default", "review", "majority") == (0, 0)
    await library.learnt("m1", "promoted")
    assert await library.memory.outcomes("default", "code", "majority") == (2, 3)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("mission_briefs/m1/brief_m1.json", "brief"),
        ("mission_briefs/m1/plan/implementation_plan.json", "plan"),
        ("mission_briefs/m1/lesson/lesson.json", "lesson"),
        ("mentors/m1/mistral_response.json", "mentor_answer"),
        ("mentors/m1/diagnose_2/mistral_response.json", "mentor_answer"),
        ("mentors/m1/summary/roundtable_summary.json", "roundtable"),
        ("prototypes/m1/final_build.zip", "prototype"),
        ("test_results/m1/test_execution.json", "test_result"),
        ("elsewhere.json", "other"),
    ],
)
def test_a_document_is_known_by_its_place(path, kind):
    assert kind_of(path) == kind
