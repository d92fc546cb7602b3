"""What a tree may hold: links that stay inside whatever else is linked, names that stay apart."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck.features.coding.git.rules import (
    collisions,
    forbidden_name,
    nested_repositories,
    symlink_leaves,
)

PARTS = st.sampled_from(["a", "b", "c", "..", "."])
TARGETS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
PLACES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(PLACES, TARGETS), min_size=1, max_size=6))
def test_links_that_are_let_in_never_lead_out(links: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch).resolve() / "deep" / "er" / "tree"
        root.mkdir(parents=True)
        made: list[Path] = []
        for place, target in links:
            link = root / place
            # A stored tree has a link or files below a name, never both.
            if symlink_leaves(place, target) or os.path.realpath(link.parent) != str(link.parent):
                continue
            try:
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target)
            except OSError:
                continue
            made.append(link)
        for link in made:
            try:
                found = Path(os.path.realpath(link, strict=True))
            except OSError:
                continue  # a loop, or nothing there
            assert found.is_relative_to(root), (link, os.readlink(link))


@pytest.mark.parametrize(
    ("path", "target", "leaves"),
    [
        ("link", "file", False),
        ("a/link", "../file", False),
        ("a/link", "..", False),
        ("link", ".", False),
        ("link", "./a//b/", False),
        ("link", "..", True),
        ("a/link", "../../x", True),
        ("link", "/etc/passwd", True),
        ("link", "a/../../x", True),
        ("link", "a/../b", True),
        ("link", "", True),
    ],
)
def test_links_are_judged_by_where_they_could_lead(path: str, target: str, leaves: bool) -> None:
    assert symlink_leaves(path, target) is leaves


@pytest.mark.parametrize(
    "path",
    [".git", "a/.GIT/x", ".git./x", ".git /x", "git~1", ".git::$DATA", ".g\u200dit", "a/../b"],
)
def test_names_that_mean_git_somewhere_are_forbidden(path: str) -> None:
    assert forbidden_name(path)


@pytest.mark.parametrize("path", [".gitignore", "git", ".github/x", "a.git/x", "…", "a..b", "-rf"])
def test_ordinary_names_are_not(path: str) -> None:
    assert not forbidden_name(path)


def test_names_collide_by_case_and_by_composition() -> None:
    assert collisions(["a/x", "b/y", "ab"]) == []
    assert collisions(["a/x", "A/y"]) == [("a", "A")]
    assert collisions(["caf\u00e9", "cafe\u0301"]) == [("caf\u00e9", "cafe\u0301")]


def test_a_repository_in_plain_files_is_seen() -> None:
    bare = ["x/HEAD", "x/objects/p", "x/refs/heads/main"]
    assert nested_repositories(bare) == {"x"}
    assert nested_repositories(bare[:2]) == set()
    assert nested_repositories(["HEAD", "commondir"]) == {""}
    assert nested_repositories(["objects/a", "refs/b", "docs/HEAD"]) == set()
