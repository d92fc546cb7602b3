"""Steps `target` and `baseline`: which repository, and what its tests say before any change."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Self

import orjson

from quarterdeck.core.events import Json
from quarterdeck.core.step import Done
from quarterdeck.engine.context import StepContext
from quarterdeck.features.coding import override
from quarterdeck.features.coding.commands import Commands
from quarterdeck.features.coding.detect import detect, directory_tree, this_host
from quarterdeck.features.coding.git.mirror import Mirror
from quarterdeck.features.coding.git.tree import checkout_clean, entries, read_file
from quarterdeck.features.coding.reports import Outcome, TestReport
from quarterdeck.features.coding.testrun import Place, Run, prove
from quarterdeck.features.coding.wiring import Coding

FILES_SHOWN = 200
README_CHARS = 2_000
README_BYTES_MAX = 256 * 1024
FAILURES_SHOWN = 20
MESSAGE_CHARS = 600


async def target(ctx: StepContext) -> Done:
    """Mirror the target, pin the commit to start from, and summarise it (step kind `target`)."""
    mirror = await ctx.get(Coding).mirror(ctx.mission)
    branch = await mirror.branch(ctx.mission.target_branch)
    await mirror.pin(ctx.mission.id, branch.tip)
    files = [entry.path for entry in await entries(mirror, branch.tip)]
    return Done(
        {
            "repository": mirror.location,
            "new": ctx.mission.repository is None,
            "branch": branch.name,
            "base_sha": branch.tip,
            "summary": {
                "files": files[:FILES_SHOWN],
                "files_total": len(files),
                "languages": _languages(files),
                "readme": await _readme(mirror, branch.tip, files),
            },
        }
    )


async def baseline(ctx: StepContext) -> Done:
    """Detect how it is built and tested, and prove it on the base (step kind `baseline`).

    The outputs hold `standing`, the `commands` that ran (None where none did), what was tried, and
    the tests that fail now.
    """
    coding = ctx.get(Coding)
    mirror = await coding.mirror(ctx.mission)
    base = str(ctx.outputs["target"]["base_sha"])
    async with Trees(ctx, mirror, base) as trees:
        looked = await trees.fresh()
        stated = stated_commands(ctx.mission.constraints)
        checkout = mirror.target.path if mirror.target is not None else None
        found = await asyncio.to_thread(
            lambda: detect(directory_tree(looked.tree), this_host(checkout))
        )
        candidates = (stated,) if stated is not None else found.candidates
        ctx.progress(f"Trying {len(candidates)} ways to test the base")
        commands, run, tried = await prove(candidates, trees.fresh)
    return Done(
        {
            "standing": run.standing.value if run is not None else _standing_of(tried),
            "commands": commands.as_json() if commands is not None else None,
            "tried": [_attempt_json(one, ran) for one, ran in tried],
            "unproved": [c.as_json() for c in candidates if c.unproved is not None],
            "notes": list(found.notes),
            **report_json(run.report if run is not None else None),
        }
    )


class Trees:
    """Clean checkouts of one commit below the mission's work directory, gone at the end."""

    def __init__(self, ctx: StepContext, mirror: Mirror, commit: str) -> None:
        self._mirror = mirror
        self._commit = commit
        self._root = ctx.work_dir / f"{ctx.step.id}-{secrets.token_hex(4)}"
        self._allow_weak = ctx.get(Coding).settings.allow_weak

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._root.mkdir, 0o700, True, True)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.to_thread(shutil.rmtree, self._root, ignore_errors=True)

    async def fresh(self) -> Place:
        """A new checkout with a scratch directory of its own."""
        tree = self._root / secrets.token_hex(4)
        await checkout_clean(self._mirror, self._commit, tree)
        scratch = Path(f"{tree}-scratch")
        await asyncio.to_thread(scratch.mkdir, 0o700)
        return Place(tree, scratch, allow_weak=self._allow_weak)


def stated_commands(constraints: Mapping[str, Json]) -> Commands | None:
    """The commands that a mission states as `constraints.commands`, in the override's own schema.

    Raises:
        InvalidInput: naming the key that does not fit.
    """
    stated = constraints.get("commands")
    return override.parse(orjson.dumps(stated)) if stated is not None else None


def report_json(report: TestReport | None) -> dict[str, Json]:
    """A report in short: counts, the red tests and their first messages."""
    if report is None:
        return {"counts": None, "failing": [], "failures": []}
    counts = report.counts
    red = sorted(report.red)
    return {
        "counts": {
            "total": counts.total,
            "passed": counts.passed,
            "failed": counts.failed,
            "errors": counts.error,
            "skipped": counts.skipped,
        },
        "failing": red,
        "failures": [
            {
                "test": name,
                "error": report.cases[name].outcome is Outcome.ERROR,
                "message": (report.cases[name].message or "")[:MESSAGE_CHARS],
            }
            for name in red[:FAILURES_SHOWN]
        ],
    }


def _standing_of(tried: tuple[tuple[Commands, Run], ...]) -> str:
    return tried[-1][1].standing.value if tried else "none"


def _attempt_json(commands: Commands, run: Run) -> dict[str, Json]:
    test = commands.test
    return {
        "test": list(test.argv) if test else None,
        "provenance": test.provenance if test else None,
        "standing": run.standing.value,
        "trouble": run.trouble,
        "commands": [command.as_json() for command in run.commands],
    }


def _languages(files: list[str]) -> dict[str, int]:
    suffixes = Counter(PurePosixPath(path).suffix for path in files)
    return {suffix: count for suffix, count in suffixes.most_common(10) if suffix}


async def _readme(mirror: Mirror, commit: str, files: list[str]) -> str | None:
    name = next((f for f in files if "/" not in f and f.lower().startswith("readme")), None)
    if name is None:
        return None
    content = await read_file(mirror, commit, name, max_bytes=README_BYTES_MAX)
    return content.decode(errors="replace")[:README_CHARS] if content is not None else None
