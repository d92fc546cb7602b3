"""Human changes, mined from neighbouring releases: one hunk of the later one taken back.

A task is the later release with one small hunk of one source file as the earlier release had it,
where the later release's tests notice. Such hunks are fixes and small features alike.
"""

from __future__ import annotations

import difflib
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.repair_sets import suite
from benchmarks.repair_sets.bug import Bug
from benchmarks.repair_sets.mutants import _sources, hide
from benchmarks.repair_sets.packages import LIBRARIES, source_tree

LINES_MAX = 6


def human(count: int, seed: int) -> Iterator[Bug]:
    """Up to `count` single hunks of at most LINES_MAX lines each way that a test notices."""
    rng = random.Random(seed)  # noqa: S311 - a draw, not a secret
    pairs = [
        (library.name, old, new)
        for library in LIBRARIES
        for old, new in zip(library.releases, library.releases[1:], strict=False)
    ]
    rng.shuffle(pairs)
    made = 0
    for name, old, new in pairs:
        earlier, later = source_tree(name, old), source_tree(name, new)
        if earlier is None or later is None:
            continue
        hunks = list(_hunks(earlier, later))
        if not hunks:
            continue
        passing = {test: ok for test, ok in (suite.run(later) or {}).items() if ok}
        for file, wrong in rng.sample(hunks, min(len(hunks), 6)):
            bug = _bug(f"{name}-{new}-{made}", later, file, wrong, passing, rng)
            if bug is not None:
                made += 1
                yield bug
            if made >= count:
                return


def _hunks(earlier: Path, later: Path) -> Iterator[tuple[str, str]]:
    """Each small hunk as (file, the later text with this hunk taken back)."""
    for path in _sources(later):
        relative = path.relative_to(later).as_posix()
        before = earlier / relative
        if not before.exists():
            continue
        old = before.read_bytes().decode().splitlines(keepends=True)
        new = path.read_bytes().decode().splitlines(keepends=True)
        for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new).get_opcodes():
            if tag == "equal" or b - a > LINES_MAX or d - c > LINES_MAX:
                continue
            if any(_is_code(line) for line in old[a:b] + new[c:d]):
                yield relative, "".join(new[:c] + old[a:b] + new[d:])


def _is_code(line: str) -> bool:
    text = line.strip()
    return bool(text) and not text.startswith(("#", '"', "'", "def ", "class ", "import ", "from "))


def _bug(
    name: str, later: Path, file: str, wrong: str, passing: dict[str, bool], rng: random.Random
) -> Bug | None:
    with tempfile.TemporaryDirectory() as scratch:
        broken = suite.copy(later, Path(scratch) / "tree")
        (broken / file).write_bytes(wrong.encode())
        outcomes = suite.run(broken)
    if outcomes is None:
        return None
    failing = [test for test in passing if not outcomes.get(test, False)]
    if not failing or len(failing) > max(3, 0.3 * len(passing)):
        return None
    hidden = hide(failing, sorted(passing), rng)
    return Bug(name, "human", later, file, wrong, tuple(failing), hidden, passing)
