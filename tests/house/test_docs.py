"""Pages that cannot drift: generated ones are fresh, links lead somewhere, commands exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from tools.reference import PAGES, described_events

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADINGS = ["Context", "Decision", "Consequences", "Alternatives"]


def _pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def _blocks(mark: str) -> Iterator[tuple[str, str]]:
    for page in _pages():
        for number, (info, body) in enumerate(FENCE.findall(page.read_text("utf-8")), start=1):
            if info.split() == mark.split():
                yield f"{page.relative_to(ROOT)}#{number}", body


def _shell_lines() -> Iterator[tuple[str, list[str]]]:
    for place, body in [*_blocks("sh"), *_blocks("sh run")]:
        for line in body.splitlines():
            yield place, line.split("#")[0].split()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_generated_pages_are_fresh(name: str):
    assert (ROOT / "docs/reference" / name).read_text("utf-8") == PAGES[name](), "./dev docs"


def test_every_event_is_documented():
    silent = [kind for kind, text in described_events().items() if not text]
    assert not silent, "give the member in core/events.py a docstring, then ./dev docs"


def test_links_lead_somewhere():
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in _pages()
        for target in LINK.findall(FENCE.sub("", page.read_text("utf-8")))
        if not target.startswith(("http:", "https:", "mailto:", "#"))
        and not (page.parent / target.split("#")[0]).exists()
    ]
    assert not broken


def test_every_page_is_on_the_map(texts):
    index = (ROOT / "docs/index.md").read_text("utf-8")
    linked = {os.path.normpath(f"docs/{target.split('#')[0]}") for target in LINK.findall(index)}
    pages = {name for name in texts if name.startswith("docs/") and name.endswith(".md")}
    assert not pages - linked - {"docs/index.md"}, "add the page to docs/index.md"


def test_the_commands_of_the_pages_exist():
    usage = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"^  (\w+)", usage.stdout, re.MULTILINE)) | {"help"}
    unknown = [
        f"{place}: {' '.join(words)}"
        for place, words in _shell_lines()
        if words[:1] == ["./dev"] and words[1] not in known
    ]
    assert not unknown


def test_the_programs_own_commands_exist(tmp_path: Path):
    program = Path(sys.executable).with_name("quarterdeck")
    used = {tuple(words[1:2]) for _, words in _shell_lines() if words[:1] == ["quarterdeck"]}
    unknown = [
        command
        for command in sorted(used)
        if subprocess.run(
            [program, *command, "--help"], cwd=tmp_path, capture_output=True, check=False
        ).returncode
    ]
    assert not unknown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mark", "interpreter"),
    [("sh run", ["sh", "-eu", "-s"]), ("python run", [sys.executable, "-"])],
)
def test_marked_blocks_run(mark: str, interpreter: list[str], tmp_path: Path):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for number, (place, body) in enumerate(_blocks(mark)):
        folder = tmp_path / str(number)
        folder.mkdir()
        result = subprocess.run(
            interpreter,
            input=body,
            cwd=folder,
            env={**os.environ, "PATH": path},
            text=True,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert result.returncode == 0, f"{place}: {result.stdout}{result.stderr}"


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(page.name[:4]) for page in ROOT.glob("docs/decisions/*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.name) for page in sorted(ROOT.glob("docs/decisions/*.md"))]
)
def test_decisions_follow_the_template(page: Path):
    text = page.read_text("utf-8")
    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert re.search(
        r"^Date: \d{4}-\d\d-\d\d\. Status: (accepted|replaced by \d{4})\.", text, re.MULTILINE
    )
    headings = re.findall(r"^## (\w+)", text, re.MULTILINE)
    assert [heading for heading in headings if heading in HEADINGS] == HEADINGS


def test_the_changelog_is_open():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)


def test_the_guide_for_agents_stays_short():
    assert (ROOT / "AGENTS.md").read_text("utf-8").count("\n") <= 120


def test_the_architecture_names_every_package(product):
    described = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    parts = {PurePosixPath(source.name).parts for source in product}
    packages = {p[2] for p in parts if len(p) > 3} | {
        p[3] for p in parts if len(p) > 4 and p[2] == "features"
    }
    unnamed = [
        name for name in sorted(packages) if not re.search(rf"^ +{name}/", described, re.MULTILINE)
    ]
    assert not unnamed, "add it to the tree in ARCHITECTURE.md"


def test_the_architecture_names_nothing_that_is_not_there():
    tree = re.search(r"```\nsrc/.*?```", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.DOTALL)
    assert tree
    names = re.findall(r"^ *([\w./]+)", tree[0], re.MULTILINE)
    places = ("", "src/quarterdeck", "src/quarterdeck/features", "tests")
    missing = [
        name for name in names if not any((ROOT / place / name).exists() for place in places)
    ]
    assert not missing
