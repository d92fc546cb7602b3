"""Which kind of task a brief is, and who is asked about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.mission import TaskKind
from quarterdeck.features.mentors.models import Installed, best_tag, file_names, parameters
from quarterdeck.features.mentors.routing import SEED_TABLE, classify, route
from quarterdeck.llm.port import ModelRef

pytestmark = pytest.mark.req("ORC-3")


def models(*names: str, local: bool = True) -> list[Installed]:
    return [Installed(ModelRef.parse(name), local) for name in names]


def asked(kind: TaskKind, *names: str, **settings: object) -> list[str]:
    return [str(m.ref) for m in route(kind, models(*names), **settings).mentors]


ALL = (
    "ollama/qwen2.5-coder:7b",
    "ollama/llama3.2:3b",
    "ollama/deepseek-coder:6.7b",
    "ollama/mistral:7b",
    "ollama/qwen2.5:14b",
)


@pytest.mark.parametrize(
    ("brief", "kind"),
    [
        ("Fix the crash when the list is empty", "debugging"),
        ("Review the payment module for mistakes", "review"),
        ("Design the architecture of the import service", "architecture"),
        ("Plan the roadmap for the next milestone", "planning"),
        ("Implement a function that reads CSV files", "code"),
    ],
)
def test_keywords_decide_and_are_shown(brief, kind):
    found = classify(brief, {})
    assert (found.kind, found.basis) == (kind, "keywords")
    assert found.evidence[kind]


def test_what_is_stated_wins_over_keywords():
    assert classify("Fix the crash", {}, TaskKind.REVIEW).kind == "review"
    by_constraint = classify("Fix the crash", {"task_kind": "Planning"})
    assert (by_constraint.kind, by_constraint.basis) == ("planning", "stated")


def test_a_constraint_that_is_no_kind_is_named_and_not_used():
    found = classify("Fix the crash", {"task_kind": "magic"})
    assert found.kind == "debugging"
    assert "task_kind" in found.note


def test_without_any_word_code_is_assumed_and_said():
    found = classify("Lorem ipsum", {})
    assert (found.kind, found.basis, found.evidence) == ("code", "default", {})


def test_a_repeated_word_is_counted_three_times_at_most():
    found = classify("fix " * 50, {})
    assert found.evidence == {"debugging": {"fix": 3}}


@given(st.text())
def test_any_brief_has_a_kind(brief):
    assert classify(brief, {}).kind in set(TaskKind)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_the_seed_table_is_followed(kind):
    bases = [name.split("/")[1].split(":")[0] for name in asked(kind, *ALL)]
    assert bases == list(SEED_TABLE[kind])


def test_the_table_can_be_another_one():
    table = {TaskKind.CODE: ("phi4",)}
    assert asked(TaskKind.CODE, "ollama/phi4:14b", *ALL, table=table) == ["ollama/phi4:14b"]


def test_only_what_is_installed_is_asked_and_the_rest_is_named():
    found = route(TaskKind.CODE, models("ollama/qwen2.5-coder:7b"))
    assert [str(m.ref) for m in found.mentors] == ["ollama/qwen2.5-coder:7b"]
    assert (found.basis, found.missing) == ("table", ("deepseek-coder",))
    assert "deepseek-coder" in found.note


def test_qwen_is_not_taken_for_qwen_coder():
    found = route(TaskKind.PLANNING, models("ollama/qwen2.5-coder:7b", "ollama/llama3.2"))
    assert [str(m.ref) for m in found.mentors] == ["ollama/llama3.2"]


def test_other_local_models_stand_in_by_family_and_size():
    found = route(
        TaskKind.CODE,
        models(
            "ollama/gemma3:4b", "ollama/gemma3:27b", "ollama/phi4:14b", "ollama/nomic-embed-text"
        ),
    )
    assert [str(m.ref) for m in found.mentors] == ["ollama/gemma3:27b", "ollama/phi4:14b"]
    assert found.basis == "other_installed"


def test_the_bundled_model_is_the_last_resort_and_the_record_says_so():
    found = route(TaskKind.CODE, models("bundled/smollm2-135m", "ollama/nomic-embed-text"))
    assert [m.ref.demonstration for m in found.mentors] == [True]
    assert found.basis == "bundled"
    assert "demonstration" in found.note


def test_nobody_is_asked_when_nothing_is_installed():
    found = route(TaskKind.CODE, [])
    assert (found.mentors, found.basis) == ((), "nobody")


@pytest.mark.parametrize(
    "cloud",
    ["ollama/deepseek-coder:33b-cloud", "ollama/deepseek-coder:cloud", "openai/deepseek-coder"],
)
def test_a_cloud_model_is_refused_unless_the_workspace_allows_it(cloud):
    installed = models(cloud, "ollama/qwen2.5-coder:7b")
    refusing = route(TaskKind.CODE, installed)
    assert [str(m.ref) for m in refusing.mentors] == ["ollama/qwen2.5-coder:7b"]
    assert refusing.refused == ("deepseek-coder",)
    allowing = route(TaskKind.CODE, installed, cloud_allowed=True)
    assert [str(m.ref) for m in allowing.mentors] == [cloud, "ollama/qwen2.5-coder:7b"]


def test_a_remote_server_is_a_cloud_too():
    remote = [Installed(ModelRef.parse("company/deepseek-coder"), local=False)]
    assert route(TaskKind.CODE, remote).basis == "nobody"


def test_a_cloud_model_never_fills_a_gap_even_when_allowed():
    found = route(TaskKind.CODE, models("openai/gpt-5", local=False), cloud_allowed=True)
    assert found.basis == "nobody"


@given(st.lists(st.sampled_from([*ALL, "openai/mistral", "ollama/mistral:cloud"]), unique=True))
def test_no_cloud_model_is_ever_chosen_without_leave(names):
    for kind in TaskKind:
        for mentor in route(kind, models(*names)).mentors:
            assert mentor.ref.provider != "openai"
            assert "cloud" not in mentor.ref.name


@pytest.mark.parametrize(
    ("wanted", "installed", "chosen"),
    [
        ("qwen2.5-coder", ["o/qwen2.5-coder:1.5b", "o/qwen2.5-coder:14b"], "o/qwen2.5-coder:14b"),
        ("qwen2.5-coder", ["o/qwen2.5-coder:32b-base", "o/qwen2.5-coder:7b"], "o/qwen2.5-coder:7b"),
        ("mistral", ["o/mistral:latest", "o/mistral:instruct"], "o/mistral:latest"),
        ("mistral", ["o/library/Mistral:7b"], "o/library/Mistral:7b"),
        ("mistral:7b", ["o/mistral:22b", "o/mistral:7b"], "o/mistral:7b"),
        ("mistral:7b", ["o/mistral:22b"], None),
        ("mistral:latest", ["o/mistral"], "o/mistral"),
        ("o/mistral", ["p/mistral", "o/mistral"], "o/mistral"),
        ("mistral", ["o/mistral-nemo"], None),
    ],
)
def test_the_best_tag_is_chosen_by_the_stated_rule(wanted, installed, chosen):
    found = best_tag(wanted, models(*installed))
    assert (str(found.ref) if found else None) == chosen


def test_sizes_are_read_from_names():
    assert parameters("qwen2.5-coder:1.5b") == 1.5e9
    assert parameters("smollm2-135m") == 135e6
    assert parameters("mistral:latest") == 0.0


@pytest.mark.req("DOC-2")
def test_answers_are_named_by_model_and_by_tag_where_they_collide():
    refs = [
        ModelRef.parse(name)
        for name in ("o/mistral:7b", "o/qwen2.5:7b", "o/qwen2.5:14b", "a/phi4", "b/phi4")
    ]
    assert list(file_names(refs).values()) == [
        "mistral",
        "qwen2.5_7b",
        "qwen2.5_14b",
        "a_phi4",
        "b_phi4",
    ]


@given(
    st.lists(
        st.builds(
            lambda p, n: ModelRef(p, n),
            st.from_regex(r"[a-z0-9]{1,3}", fullmatch=True),
            st.from_regex(r"[A-Za-z0-9.:/@+-]{1,12}", fullmatch=True),
        ),
        unique=True,
        max_size=8,
    )
)
def test_every_answer_has_a_file_of_its_own_with_a_safe_name(refs):
    names = file_names(refs)
    assert set(names) == set(refs)
    assert len(set(names.values())) == len(refs)
    assert not any("/" in name or name.startswith(".") for name in names.values())
