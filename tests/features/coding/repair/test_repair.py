"""The repairer end to end: planted bugs in small projects, through the port."""

from __future__ import annotations

import pytest

from quarterdeck.features.coding.implementers.port import Progressed, Status
from quarterdeck.features.coding.implementers.repair import RepairImplementer

DISCOUNT = """
    def discount(total):
        if total > 100:
            return total * 9 // 10
        return total
    """
DISCOUNT_TESTS = """
    from shop import discount

    def test_below(): assert discount(99) == 99
    def test_at(): assert discount(100) == 90
    def test_just_above(): assert discount(101) == 90
    def test_above(): assert discount(200) == 180
    """


@pytest.mark.req("ORC-8")
async def test_fixes_a_comparison_with_strong_evidence(project, events):
    root = project({"shop.py": DISCOUNT, "test_shop.py": DISCOUNT_TESTS})
    before = (root / "test_shop.py").read_bytes()

    heard = await events(root)

    finished = heard[-1]
    assert finished.status is Status.CHANGED
    assert "if total >= 100:" in (root / "shop.py").read_text()
    assert (root / "test_shop.py").read_bytes() == before
    assert finished.evidence["confirmed"] is True
    assert finished.evidence["line_variations"]["fail"] >= 3
    assert all(isinstance(event, Progressed) for event in heard[:-1])
    assert {"tests_run", "candidates_tried", "seconds_left"} <= heard[0].data.keys()


@pytest.mark.slow
async def test_fixes_a_loop_that_never_ends(project, repair):
    root = project(
        {
            "halve.py": """
            def halvings(n):
                count = 0
                while n >= 1:
                    n = n // 1
                    count += 1
                return count
            """,
            "test_halve.py": """
            from halve import halvings

            def test_none(): assert halvings(0) == 0
            def test_eight(): assert halvings(8) == 4
            def test_seven(): assert halvings(7) == 3
            """,
        }
    )

    finished = await repair(root, budget_s=40.0)

    assert finished.status is Status.CHANGED
    assert "n // 2" in (root / "halve.py").read_text()


@pytest.mark.slow
async def test_fixes_code_that_runs_at_import(project, repair):
    root = project(
        {
            "days.py": """
            WEEK = 8

            def weeks(days):
                return days // WEEK
            """,
            "test_days.py": """
            from days import WEEK, weeks

            def test_one(): assert weeks(7) == 1
            def test_two(): assert weeks(14) == 2
            def test_rest(): assert weeks(20) == 2
            def test_week(): assert WEEK == 7
            """,
        }
    )

    finished = await repair(root)

    assert finished.status is Status.CHANGED
    assert "WEEK = 7" in (root / "days.py").read_text()


@pytest.mark.slow
async def test_fixes_a_module_that_cannot_be_imported(project, repair):
    root = project(
        {
            "limits.py": """
            NAMES = ("a", "b")
            LIMITS = dict(zip(NAMES, range(len(NAME))))
            """,
            "test_limits.py": """
            from limits import LIMITS

            def test_all(): assert LIMITS == {"a": 0, "b": 1}
            """,
        }
    )

    finished = await repair(root)

    assert finished.status is Status.CHANGED
    assert "len(NAMES)" in (root / "limits.py").read_text()


@pytest.mark.slow
async def test_calls_the_evidence_weak_where_tests_pin_nothing(project, repair):
    root = project(
        {
            "grade.py": """
            def grade(points):
                if points > 50:
                    return "pass"
                return "fail"
            """,
            "test_grade.py": """
            from grade import grade

            def test_fifty(): assert grade(50) == "pass"
            """,
        }
    )

    finished = await repair(root)

    assert finished.status is Status.CHANGED
    assert finished.evidence["class"] == "weak"
    assert finished.evidence["doubts"]


@pytest.mark.slow
async def test_calls_an_exception_by_accident_weak(project, repair):
    root = project(
        {
            "pairs.py": """
            def keys(pairs):
                found = []
                for key, value in pairs.items():
                    found.append(key)
                return found
            """,
            "test_pairs.py": """
            import pytest
            from pairs import keys

            def test_refuses():
                with pytest.raises(ValueError):
                    keys({"a": "x"})
            """,
        }
    )

    finished = await repair(root)

    assert finished.evidence.get("class") != "strong"


@pytest.mark.slow
async def test_asks_one_question_where_rival_patches_differ(project, repair):
    root = project(
        {
            "add.py": """
            def combine(a, b):
                return a - b
            """,
            "test_add.py": """
            from add import combine

            def test_two(): assert combine(2, 2) == 4
            def test_zero(): assert combine(0, 0) == 0
            """,
        }
    )

    finished = await repair(root)

    assert finished.status is Status.CHANGED
    assert finished.evidence["class"] == "weak"
    asked = finished.evidence["question"]
    assert asked["call"].startswith("combine(")
    assert len({answer["gives"] for answer in asked["answers"]}) == 2


@pytest.mark.slow
async def test_hands_over_what_it_knows_when_nothing_helps(project, repair):
    root = project(
        {
            "codes.py": """
            def code(name):
                table = {"north": "qx17", "south": "zz09"}
                return table[name]
            """,
            "test_codes.py": """
            from codes import code

            def test_north(): assert code("north") == "qx17"
            def test_east(): assert sum(map(ord, code("east"))) == 12345
            """,
        }
    )
    before = (root / "codes.py").read_bytes()

    finished = await repair(root, budget_s=6.0)

    assert finished.status is Status.UNCHANGED
    assert (root / "codes.py").read_bytes() == before
    assert finished.handover["suspects"][0]["file"] == "codes.py"
    assert finished.handover["failing"][0]["fault"]["type"] == "KeyError"


@pytest.mark.slow
async def test_keeps_the_order_of_tests_that_share_module_state(project, repair):
    root = project(
        {
            "seen.py": """
            SEEN = []

            def note(name):
                if name in SEEN:
                    SEEN.append(name)
                return len(SEEN)
            """,
            "test_seen.py": """
            from seen import SEEN, note

            def test_empty(): assert len(SEEN) == 0
            def test_first(): assert note("a") == 1
            def test_again(): assert note("a") == 1
            def test_second(): assert note("b") == 2
            """,
        }
    )

    finished = await repair(root)

    assert finished.status is Status.CHANGED
    assert "if name not in SEEN:" in (root / "seen.py").read_text()


@pytest.mark.slow
async def test_fixes_what_a_test_runs_in_a_process_of_its_own(project, repair):
    root = project(
        {
            "double.py": """
            import sys

            def double(n):
                return n + 2

            if __name__ == "__main__":
                print(double(int(sys.argv[1])))
            """,
            "test_double.py": """
            import subprocess, sys

            def run(n):
                argv = [sys.executable, "double.py", str(n)]
                return int(subprocess.run(argv, capture_output=True, check=True).stdout)

            def test_two(): assert run(2) == 4
            def test_five(): assert run(5) == 10
            """,
        }
    )

    finished = await repair(root, budget_s=60.0)

    assert finished.status is Status.CHANGED
    assert (
        "n * 2" in (root / "double.py").read_text() or "2 * n" in (root / "double.py").read_text()
    )


async def test_does_not_edit_protected_files(project, repair):
    root = project({"shop.py": DISCOUNT, "test_shop.py": DISCOUNT_TESTS})

    finished = await repair(root, protected=("shop.py",), budget_s=5.0)

    assert finished.status is Status.UNCHANGED
    assert "total > 100" in (root / "shop.py").read_text()


async def test_says_when_nothing_fails(project, repair):
    root = project({"test_fine.py": "def test_fine(): pass\n"})

    finished = await repair(root)

    assert finished.status is Status.UNCHANGED
    assert "none of the 1 tests" in finished.summary


async def test_says_why_a_project_without_pytest_is_out_of_scope(project, repair):
    root = project({"main.go": "package main\n"})

    finished = await repair(root, argv=("go", "test", "./..."))

    assert finished.status is Status.UNCHANGED
    assert "pytest" in finished.summary


async def test_says_why_tests_cannot_be_started(project, repair):
    root = project({"test_a.py": "def test_a(): assert 0\n"})

    finished = await repair(
        root, argv=("/usr/bin/env", "python3", "-m", "pytest", "--no-such-flag")
    )

    assert finished.status is Status.UNCHANGED
    assert "cannot be collected" in finished.summary


async def test_says_when_collecting_takes_too_long(project, repair):
    root = project({"test_slow.py": "import time\ntime.sleep(60)\ndef test_a(): pass\n"})

    finished = await repair(root, budget_s=3.0)

    assert finished.status is Status.UNCHANGED
    assert "too long" in finished.summary


async def test_leaves_no_copies_behind(project, repair, tmp_path):
    root = project({"test_fine.py": "def test_fine(): pass\n"})

    await repair(root)

    assert list((tmp_path / "work").iterdir()) == []
    assert sorted(path.name for path in root.iterdir()) == ["test_fine.py"]


async def test_closing_the_run_ends_it(project, task):
    root = project({"shop.py": DISCOUNT, "test_shop.py": DISCOUNT_TESTS})
    running = RepairImplementer(workers=1).run(task(root))

    first = await anext(running)
    await running.aclose()

    assert isinstance(first, Progressed)
    assert "total > 100" in (root / "shop.py").read_text()


@pytest.mark.slow
async def test_the_same_seed_gives_the_same_patch(project, repair):
    root = project({"shop.py": DISCOUNT, "test_shop.py": DISCOUNT_TESTS})
    original = (root / "shop.py").read_text()
    patched = set()
    for _ in range(2):
        (root / "shop.py").write_text(original)
        await repair(root, seed=7)
        patched.add((root / "shop.py").read_text())

    assert len(patched) == 1
