"""Verifies a change: checks it out afresh, runs what judges it, and asks for the verdict."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from quarterdeck.confine import Limits, Network
from quarterdeck.features.coding import globs
from quarterdeck.features.coding.audit import Audit, audit
from quarterdeck.features.coding.blank import is_blank
from quarterdeck.features.coding.checkouts import changes_between, files_digest, put_back
from quarterdeck.features.coding.commands import Commands
from quarterdeck.features.coding.environment import environment_of
from quarterdeck.features.coding.proof import Expectation, Proof, Runs, Subject, judge
from quarterdeck.features.coding.scan import scan
from quarterdeck.features.coding.testrun import Place, Run, run_tests
from quarterdeck.features.coding.tripwire import Tripwire

Checkout = Callable[[str, Path], Awaitable[object]]
"""Writes the files of a commit (or tree) into a directory that does not exist yet."""

_SEED = {"PYTHONHASHSEED": "4242"}


@dataclass(frozen=True, slots=True)
class Verification:
    """What is to be verified and where.

    `base_sha` and `tree_sha` are what `checkout` understands; `tree_sha` is what would be promoted.
    `scratch` is an existing private directory; everything below it is removed again.
    """

    base_sha: str
    tree_sha: str
    commands: Commands
    checkout: Checkout
    scratch: Path
    expectation: Expectation = field(default_factory=Expectation)
    network: Network = Network.NONE
    limits: Limits = field(default_factory=Limits)
    allow_weak: bool = False


@dataclass(frozen=True, slots=True)
class Verified:
    """The proof, and the runs behind it for those who want to show a report or feed a retry."""

    proof: Proof
    runs: Runs


async def verify(
    request: Verification,
    *,
    on_progress: Callable[[str], None] | None = None,
    on_output: Callable[[bytes], None] | None = None,
) -> Verified:
    """Run everything that the proof of one change needs, then judge it.

    Whatever the change does ends in a `Proof`; it raises only when the checkout or confinement
    itself fails (`NotFound`, `Conflict`, `Unavailable`).
    """
    home = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="verify-", dir=request.scratch))
    try:
        return await _Work(request, home, on_progress or _silent, on_output).verified()
    finally:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


def _silent(_message: str) -> None:
    return


class _Work:
    """One verification. `base` and `candidate` are checkouts in which nothing ever runs."""

    def __init__(
        self,
        request: Verification,
        home: Path,
        progress: Callable[[str], None],
        on_output: Callable[[bytes], None] | None,
    ) -> None:
        self._request = request
        self._home = home
        self._progress = progress
        self._on_output = on_output
        self._base = home / "base"
        self._candidate = home / "candidate"

    async def verified(self) -> Verified:
        request = self._request
        await request.checkout(request.base_sha, self._base)
        await request.checkout(request.tree_sha, self._candidate)
        changes = await asyncio.to_thread(changes_between, self._base, self._candidate)
        found = await asyncio.to_thread(audit, changes, protected=request.commands.protected)
        self._progress("Scanning the change")
        risks = await scan(changes, scratch=self._home, allow_weak=request.allow_weak)
        blank = await asyncio.to_thread(is_blank, self._base)
        runs = await (self._runs_from_blank(found) if blank else self._runs(found))
        proof = judge(
            runs,
            subject=Subject(
                request.base_sha,
                request.tree_sha,
                await asyncio.to_thread(files_digest, self._candidate),
            ),
            commands=request.commands,
            audit=found,
            scan=risks,
            expectation=request.expectation,
            environment=await asyncio.to_thread(environment_of, request.commands),
        )
        return Verified(proof, runs)

    async def _runs(self, found: Audit) -> Runs:
        judging = [hit.path for hit in found.hits if not self._declared(hit.path)]
        tripwire = await asyncio.to_thread(Tripwire.for_tree, self._base, self._request.commands)
        self._progress("Testing the base and the change")
        base, restored = await asyncio.gather(
            self._run("run-base", self._request.base_sha, tripwire=tripwire),
            self._run("run-restored", self._request.tree_sha, undone=judging),
        )
        if tripwire is not None:
            base, collected = tripwire.taken_from(base)
            tripwire = tripwire if collected else None
        if restored.report is None:
            left = Run((), trouble="it was not run, because the run before it proved nothing")
            return Runs(base, restored, left, left)
        self._progress("Testing the change again")
        held_out, candidate, red = await asyncio.gather(
            self._run(
                "run-held", self._request.tree_sha, undone=judging, tripwire=tripwire, env=_SEED
            ),
            self._run("run-candidate", self._request.tree_sha) if judging else _same(restored),
            self._red(found) if found.new_tests else _none(),
        )
        caught: bool | None = None
        if tripwire is not None:
            held_out, caught = tripwire.taken_from(held_out)
        return Runs(base, restored, held_out, candidate, red, caught)

    async def _runs_from_blank(self, found: Audit) -> Runs:
        """The runs where the base is a blank page: nothing there could judge the change."""
        sha = self._request.tree_sha
        commands = self._request.commands
        tripwire = await asyncio.to_thread(Tripwire.for_tree, self._candidate, commands)
        self._progress("Testing the base and the change")
        base, candidate = await asyncio.gather(
            self._run("run-base", self._request.base_sha), self._run("run-candidate", sha)
        )
        self._progress("Testing the change again")
        judging = [hit.path for hit in found.hits]
        held_out, red = await asyncio.gather(
            self._run("run-held", sha, tripwire=tripwire, env=_SEED),
            self._run("run-red", self._request.base_sha, brought=judging),
        )
        caught: bool | None = None
        if tripwire is not None and held_out.report is not None:
            held_out, caught = tripwire.taken_from(held_out)
        return Runs(base, candidate, held_out, candidate, red, caught, blank=True)

    def _declared(self, path: str) -> bool:
        return any(globs.matches(path, glob) for glob in self._request.expectation.declared)

    async def _red(self, found: Audit) -> Run:
        return await self._run("run-red", self._request.base_sha, brought=found.new_tests)

    async def _run(
        self,
        name: str,
        sha: str,
        *,
        undone: Sequence[str] = (),
        brought: Sequence[str] = (),
        tripwire: Tripwire | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Run:
        """One run in a checkout of its own, with files put back from the base or brought along."""
        tree = self._home / f"{name}-{secrets.token_hex(4)}"
        scratch = tree.with_name(f"{tree.name}-scratch")
        await self._request.checkout(sha, tree)
        await asyncio.to_thread(scratch.mkdir, 0o700)
        await asyncio.to_thread(put_back, undone, source=self._base, target=tree)
        await asyncio.to_thread(put_back, brought, source=self._candidate, target=tree)
        if tripwire is not None:
            await asyncio.to_thread(tripwire.plant, tree)
        place = Place(
            tree,
            scratch,
            network=self._request.network,
            limits=self._request.limits,
            allow_weak=self._request.allow_weak,
        )
        run = await run_tests(self._request.commands, place, env=env, on_output=self._on_output)
        await asyncio.to_thread(shutil.rmtree, tree, ignore_errors=True)
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        return replace(run, planted=tripwire is not None)


async def _same(run: Run) -> Run:
    return run


async def _none() -> None:
    return None
