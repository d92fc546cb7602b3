"""Runs commands for real, confined, and looks at the verdict."""

import shutil
import sys
from dataclasses import replace

import pytest

from quarterdeck.confine import Limits
from quarterdeck.features.coding.commands import Command, Commands, ReportFormat
from quarterdeck.features.coding.detect import detect, directory_tree, this_host
from quarterdeck.features.coding.testrun import Place, Standing, prove, run_tests

pytestmark = pytest.mark.req("ORC-9", "ORC-6")

GREEN = '<testsuite><testcase classname="a" name="x"/></testsuite>'
RED = '<testsuite><testcase classname="a" name="x"><failure/></testcase></testsuite>'
SMALL = Limits(memory_bytes=512 * 1024 * 1024, processes=32, output_stop_bytes=16 * 1024 * 1024)


@pytest.fixture
def place(tmp_path) -> Place:
    (tmp_path / "tree").mkdir()
    (tmp_path / "scratch").mkdir()
    return Place(tmp_path / "tree", tmp_path / "scratch", limits=SMALL)


def python(script: str, **facts) -> Commands:
    argv = (
        sys.executable,
        "-c",
        f"import sys, pathlib, os\nreport = sys.argv[1]\n{script}",
        "{report}",
    )
    return Commands("x", test=Command(argv, "here:1", ReportFormat.JUNIT, **facts))


def writing(report: str, *, code: int = 0) -> Commands:
    return python(f"pathlib.Path(report).write_text({report!r})\nsys.exit({code})")


@pytest.mark.parametrize(
    ("report", "code", "standing"),
    [
        (GREEN, 0, Standing.PROVED),
        (RED, 1, Standing.RED_ON_BASE),
        (RED, 0, Standing.RED_ON_BASE),
        (GREEN, 1, Standing.RED_ON_BASE),
        ("<testsuite/>", 0, Standing.NONE),
        ("", 0, Standing.COULD_NOT_RUN),
        ("<html></html>", 0, Standing.COULD_NOT_RUN),
        (GREEN[:-5], 0, Standing.COULD_NOT_RUN),
    ],
)
async def test_the_report_decides_and_the_exit_code_only_spoils(place, report, code, standing):
    run = await run_tests(writing(report, code=code), place)

    assert run.standing is standing
    assert (run.trouble is None) is (run.report is not None)


async def test_exit_code_zero_without_a_report_proves_nothing(place):
    run = await run_tests(python("pass"), place)

    assert run.standing is Standing.COULD_NOT_RUN
    assert "No report was written" in (run.trouble or "")


async def test_no_command_is_none(place):
    assert (await run_tests(Commands("x"), place)).standing is Standing.NONE


async def test_a_set_up_that_fails_is_named(place):
    commands = replace(writing(GREEN), setup=Command(("false",), "Makefile:1"))
    run = await run_tests(commands, place)

    assert run.standing is Standing.COULD_NOT_RUN
    assert run.trouble == "`false` ended with exit code 1."


async def test_a_program_that_is_missing_is_named(place):
    run = await run_tests(Commands("x", test=Command(("no-such-tool",), "x:1")), place)

    assert run.standing is Standing.COULD_NOT_RUN
    assert "no-such-tool" in (run.trouble or "")


async def test_tests_that_all_lack_a_module_are_no_red_tests(place):
    error = "<error message=\"ModuleNotFoundError: No module named 'requests'\"/>"
    report = f'<testsuite><testcase name="tests.test_a">{error}</testcase></testsuite>'
    run = await run_tests(writing(report, code=2), place)

    assert run.standing is Standing.COULD_NOT_RUN


async def test_a_stale_report_in_the_tree_is_not_believed(place):
    (place.tree / "reports").mkdir()
    (place.tree / "reports" / "TEST-a.xml").write_text(GREEN)
    commands = Commands(
        "java", test=Command(("true",), "pom.xml:1", ReportFormat.JUNIT, "reports/TEST-*.xml")
    )

    assert (await run_tests(commands, place)).standing is Standing.COULD_NOT_RUN


async def test_reports_found_by_a_glob_are_read_together(place):
    script = (
        "os.makedirs('m/target/surefire-reports')\n"
        "for n in 'ab':\n"
        f"    pathlib.Path(f'm/target/surefire-reports/TEST-{{n}}.xml').write_text({GREEN!r})"
    )
    run = await run_tests(
        python(script, report_glob="**/target/surefire-reports/TEST-*.xml"), place
    )

    assert run.report is not None
    assert run.report.counts.passed == 2


async def test_a_report_that_is_a_link_is_not_followed(place, tmp_path):
    (tmp_path / "elsewhere.xml").write_text(GREEN)
    script = f"os.symlink({str(tmp_path / 'elsewhere.xml')!r}, report)"

    assert (await run_tests(python(script), place)).standing is Standing.COULD_NOT_RUN


async def test_a_printed_report_is_read_from_the_output(place):
    commands = Commands(
        "x", test=Command(("printf", "1..1\\nok 1 - a\\n"), "x:1", ReportFormat.TAP)
    )

    assert (await run_tests(commands, place)).standing is Standing.PROVED


async def test_a_second_run_finds_flaky_tests(place):
    script = (
        "seen = pathlib.Path('seen')\n"
        f"pathlib.Path(report).write_text({RED!r} if seen.exists() else {GREEN!r})\n"
        "seen.touch()"
    )
    run = await run_tests(python(script), place, twice=True)

    assert run.flaky == {"a::x"}
    assert (await run_tests(writing(GREEN), place, twice=True)).flaky == frozenset()


async def test_tests_that_hang_are_stopped(place):
    run = await run_tests(python("import time\ntime.sleep(600)", timeout_s=1.0), place)

    assert run.standing is Standing.COULD_NOT_RUN
    assert "was stopped after 1 s" in (run.trouble or "")


async def test_tests_that_print_without_end_are_stopped(place):
    run = await run_tests(python("while True: print('x' * 1000)"), place)

    assert run.standing is Standing.COULD_NOT_RUN
    assert "output_stop_bytes" in (run.trouble or "")
    assert len(run.commands[0].output) <= 16_000


async def test_tests_that_delete_what_they_can_reach_end_in_a_verdict(place, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("mine")
    (place.tree / "a").write_text("a")
    script = (
        "import shutil\n"
        f"for path in {[str(tmp_path / 'outside'), str(place.tree), str(place.scratch)]!r}:\n"
        "    shutil.rmtree(path, ignore_errors=True)"
    )
    run = await run_tests(python(script), place)

    assert run.standing is Standing.COULD_NOT_RUN
    assert (tmp_path / "outside" / "precious").read_text() == "mine"
    assert not (place.tree / "a").exists()


async def test_tests_that_kill_their_parent_end_in_a_verdict(place):
    run = await run_tests(python("import signal\nos.kill(os.getppid(), signal.SIGKILL)"), place)

    assert run.standing is Standing.COULD_NOT_RUN
    assert run.report is None


async def test_nothing_survives_its_step(place):
    script = (
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    import time\n"
        "    time.sleep(2)\n"
        "    pathlib.Path('late').touch()\n"
        "    os._exit(0)\n"
        f"pathlib.Path(report).write_text({GREEN!r})"
    )
    run = await run_tests(python(script), place)

    assert run.standing is Standing.PROVED
    assert run.duration_s < 2
    assert not (place.tree / "late").exists()


async def test_proving_takes_the_first_candidate_that_runs(place):
    async def checkout() -> Place:
        return place

    missing = Commands("a", test=Command(("no-such-tool",), "x:1"))
    unproved = replace(writing(GREEN), unproved="go is not on the PATH here.")
    red = writing(RED, code=1)

    chosen, run, tried = await prove([unproved, missing, red, writing(GREEN)], checkout)

    assert chosen is red
    assert run is not None
    assert run.standing is Standing.RED_ON_BASE
    assert [each.standing for _, each in tried] == [Standing.COULD_NOT_RUN, Standing.RED_ON_BASE]


TREES = {
    "node": {
        "package.json": '{"scripts": {"test": "node --test test/*.js"}}',
        "test/a.js": "const test = require('node:test')\nconst assert = require('assert')\n"
        "test('ok', () => {})\ntest('no', () => assert.equal(1, 2))\n",
    },
    "cargo": {
        "Cargo.toml": '[package]\nname = "x"\nversion = "0.1.0"\nedition = "2021"\n',
        "src/lib.rs": "#[cfg(test)]\nmod tests {\n#[test]\nfn ok() {}\n"
        "#[test]\nfn no() { assert_eq!(1, 2) }\n}\n",
    },
    "ctest": {
        "CMakeLists.txt": "cmake_minimum_required(VERSION 3.21)\nproject(x NONE)\n"
        "enable_testing()\nadd_test(NAME ok COMMAND true)\nadd_test(NAME no COMMAND false)\n",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("tool", TREES)
async def test_other_ecosystems_are_detected_run_and_read(place, tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not on the PATH")
    for name, content in TREES[tool].items():
        (place.tree / name).parent.mkdir(exist_ok=True)
        (place.tree / name).write_text(content)
    commands = detect(directory_tree(place.tree), this_host()).best
    assert commands is not None
    run = await run_tests(commands, replace(place, limits=Limits()))

    assert run.standing is Standing.RED_ON_BASE
    assert run.report is not None
    assert (run.report.counts.passed, run.report.counts.failed) == (1, 1)
