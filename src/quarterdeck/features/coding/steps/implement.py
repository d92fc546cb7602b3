"""Step `implement`: somebody writes the change, and the sandbox's files are kept (ORC-8)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from quarterdeck.core.errors import TooLarge
from quarterdeck.core.events import EventType, Json
from quarterdeck.core.step import Choice, Done, Outcome, Wait
from quarterdeck.engine.context import StepContext
from quarterdeck.features.coding.commands import Commands, commands_from_json
from quarterdeck.features.coding.git.diff import diff
from quarterdeck.features.coding.git.rules import TreeRefused
from quarterdeck.features.coding.git.sandbox import Sandbox, unkept_changes
from quarterdeck.features.coding.git.snapshot import Snapshot, snapshot
from quarterdeck.features.coding.git.tree import export_zip, read_file
from quarterdeck.features.coding.implementers.choose import Chosen, Name, Situation, choose
from quarterdeck.features.coding.implementers.port import Finished, Progressed, Status, Task
from quarterdeck.features.coding.steps.sandbox import as_snapshot, surviving_sandbox
from quarterdeck.features.coding.wiring import Coding
from quarterdeck.llm.port import Usage
from quarterdeck.storage.artifacts import write_durably

FILES_KEPT = 100
FILE_BYTES_MAX = 1024 * 1024
FEEDBACK_KEYS = ("reasons", "failures", "summary")

CONTINUE = Choice("continue", "I have implemented it in the sandbox")
REJECT = Choice("reject", "Stop here and change nothing")


async def implement(ctx: StepContext) -> Outcome:
    """Write the change by the chosen implementer, or keep what a person wrote.

    What an implementer reported is on the disk before its files are kept, so that a crash between
    the two never lets it work twice.
    """
    made = await surviving_sandbox(ctx)
    if ctx.answers and ctx.answers[-1].choice == REJECT.id:
        return Done({"status": "rejected", "rejected": True})
    if _by_hand(ctx):
        return await _kept_by_hand(ctx, made)
    record = _record_file(ctx)
    finished = await asyncio.to_thread(_read_record, record)
    if finished is None:
        made = await _prepared(ctx, made)
        finished = await _implemented(ctx, made)
        await asyncio.to_thread(write_durably, record, orjson.dumps(finished))
    if finished["status"] != Status.CHANGED.value:
        return _ask_person(made, finished)
    return await _kept_or_asked(ctx, made, finished)


def _by_hand(ctx: StepContext) -> bool:
    answered = bool(ctx.answers) and ctx.answers[-1].choice == CONTINUE.id
    first = ctx.step.id == "implement"
    gate = ctx.outputs.get("gate", {}) if first else {}
    named = ctx.mission.implementer == Name.BY_HAND or bool(ctx.step.args.get("by_hand"))
    return answered or bool(gate.get("by_hand")) or (named and not ctx.answers)


async def _kept_by_hand(ctx: StepContext, made: Sandbox) -> Outcome:
    waited = bool(ctx.answers) or bool(ctx.outputs.get("gate", {}).get("by_hand"))
    if not waited:
        return _ask_person(made, {"implementer": Name.BY_HAND.value, "summary": ""})
    finished: dict[str, Any] = {
        "implementer": Name.BY_HAND.value,
        "status": Status.CHANGED.value,
        "summary": "Implemented by hand.",
        "evidence": {},
        "handover": {},
    }
    return await _kept_or_asked(ctx, made, finished)


async def _kept_or_asked(ctx: StepContext, made: Sandbox, finished: Mapping[str, Any]) -> Outcome:
    """Keep the change; a person is asked when there is none, or when it cannot be kept."""
    try:
        kept = await _kept(ctx, made, finished)
    except (TreeRefused, TooLarge) as refused:
        return _ask_person(made, {**finished, "summary": str(refused)})
    if not kept["files"]:
        return _ask_person(made, {**finished, "summary": "The sandbox is as it was."})
    return Done(kept)


def _ask_person(made: Sandbox, finished: Mapping[str, Any]) -> Wait:
    """Hand it to a person, with all that was found out on the way."""
    return Wait(
        f"Please implement it in the sandbox. {finished['summary']}".strip(),
        (CONTINUE, REJECT),
        {
            "sandbox": str(made.path),
            "branch": made.branch,
            "implementer": finished["implementer"],
            "handover": finished.get("handover", {}),
        },
    )


async def _prepared(ctx: StepContext, made: Sandbox) -> Sandbox:
    """A person's edits are kept as the start; what a killed implementer left half is dropped."""
    if ctx.interruptions:
        return await as_snapshot(made)
    if await unkept_changes(made):
        await snapshot(made, "Keep what was in the sandbox", at=ctx.clock.now())
    return made


async def _implemented(ctx: StepContext, made: Sandbox) -> dict[str, Any]:
    """Let one implementer after the other try, each with what the one before found out."""
    coding = ctx.get(Coding)
    model, ref = await coding.best_model()
    commands = known_commands(ctx)
    failing = failing_tests(ctx)
    chosen = choose(
        ctx.mission.implementer,
        Situation(commands.ecosystem if commands else "", bool(failing), model),
    )
    ctx.progress(f"{chosen.name.value}: {chosen.reason}")
    handover: dict[str, Json] = {}
    finished: dict[str, Any] = {}
    for name in (chosen.name, *chosen.then):
        if name is Name.BY_HAND:
            break
        task = _task(ctx, made, commands, failing, handover)
        ended = await _run(ctx, coding, name, task, model_ref=ref)
        finished = {
            "implementer": name.value,
            "status": ended.status.value,
            "summary": ended.summary,
            "evidence": dict(ended.evidence),
            "handover": dict(ended.handover),
        }
        if ended.status is Status.CHANGED:
            return finished
        handover[name.value] = {"summary": ended.summary, **ended.handover}
        made = await as_snapshot(made)
    return {**_nobody(chosen), **finished, "handover": handover}


def _nobody(chosen: Chosen) -> dict[str, Any]:
    return {
        "implementer": Name.BY_HAND.value,
        "status": Status.UNCHANGED.value,
        "summary": chosen.reason,
        "evidence": {},
    }


async def _run(
    ctx: StepContext, coding: Coding, name: Name, task: Task, *, model_ref: Any
) -> Finished:
    def on_usage(usage: Usage) -> None:
        ctx.emit(EventType.MODEL_CALLED, {**usage.as_json(), "step": ctx.step.id})

    implementer = coding.implementer(name, model=model_ref, on_usage=on_usage)
    async with aclosing(implementer.run(task)) as events:  # type: ignore[type-var] # generators close
        async for event in events:
            match event:
                case Progressed():
                    ctx.progress(event.message, fraction=event.fraction, **event.data)
                case Finished():
                    return event
                case _:
                    continue
    raise AssertionError(f"{name} ended without saying how")


def _task(
    ctx: StepContext,
    made: Sandbox,
    commands: Commands | None,
    failing: tuple[str, ...],
    handover: Mapping[str, Json],
) -> Task:
    scratch = ctx.work_dir / "implement"
    scratch.mkdir(0o700, parents=True, exist_ok=True)
    feedback = feedback_for(ctx.outputs, handover)
    budget = ctx.mission.implementer_options.get("budget_s")
    options = {k: v for k, v in ctx.mission.implementer_options.items() if k != "budget_s"}
    default_s = ctx.get(Coding).settings.implement_budget_s
    return Task(
        mission_id=ctx.mission.id,
        brief=ctx.mission.brief,
        path=made.path,
        work_dir=scratch,
        commands=commands or Commands(ecosystem=""),
        constraints=ctx.mission.constraints,
        insights=ctx.outputs.get("agree", {}),
        plan=ctx.outputs.get("plan", {}).get("document", {}),
        failing=failing,
        feedback=feedback or None,
        options=options,
        budget_s=float(budget) if isinstance(budget, int | float) else default_s,
    )


def feedback_for(
    outputs: Mapping[str, Mapping[str, Json]], handover: Mapping[str, Json]
) -> dict[str, Json]:
    """What the last failing proof, the debugging mentors and earlier implementers said."""
    proofs = [o for s, o in outputs.items() if s.startswith("verify") and "passed" in o]
    advice = [o for s, o in outputs.items() if s.startswith("diagnose")]
    found: dict[str, Json] = {}
    if proofs:
        found["proof"] = {key: proofs[-1].get(key) for key in FEEDBACK_KEYS}
    if advice:
        found["advice"] = advice[-1].get("advice")
    if handover:
        found["handover"] = dict(handover)
    return found


def known_commands(ctx: StepContext) -> Commands | None:
    """The commands proved on the base, or those that a later proof was made with."""
    known = [
        outputs["commands"]
        for step, outputs in ctx.outputs.items()
        if (step == "baseline" or step.startswith("verify")) and outputs.get("commands")
    ]
    return commands_from_json(known[-1]) if known else None


def failing_tests(ctx: StepContext) -> tuple[str, ...]:
    """The tests that are red now: on the base, or in the last proof that failed."""
    proofs = [o for s, o in ctx.outputs.items() if s.startswith("verify") and "failing" in o]
    known = proofs[-1] if proofs else ctx.outputs.get("baseline", {})
    return tuple(known.get("failing") or ())


async def _kept(ctx: StepContext, made: Sandbox, finished: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the files as a commit, as artifacts, as a patch and as one archive (ORC-8)."""
    title = ctx.mission.brief.strip().splitlines()[0][:72]
    taken = await snapshot(made, title, at=ctx.clock.now())
    version = 1 + sum(step.startswith("implement") for step in ctx.outputs)
    change = await diff(made.mirror, made.base, taken.commit)
    patch = await ctx.store(
        f"change_v{version}.diff", change.text.encode(), media_type="text/x-diff"
    )
    archive = await ctx.store(
        f"app_v{version}.zip",
        await _zipped(ctx, made, taken),
        media_type="application/zip",
        path=f"prototypes/{ctx.mission.id}/app_v{version}.zip",
    )
    await _store_files(ctx, made, taken, version)
    return {
        **finished,
        "version": version,
        "commit": taken.commit,
        "tree": taken.tree,
        "files": [asdict(file) for file in taken.files],
        "stats": asdict(taken.stats),
        "diff": patch.as_json(),
        "archive": archive.as_json(),
    }


async def _zipped(ctx: StepContext, made: Sandbox, taken: Snapshot) -> bytes:
    place = ctx.work_dir / f"{ctx.step.id}.zip"
    await asyncio.to_thread(place.unlink, missing_ok=True)
    await export_zip(made.mirror, taken.commit, place)
    try:
        return await asyncio.to_thread(place.read_bytes)
    finally:
        await asyncio.to_thread(place.unlink)


async def _store_files(ctx: StepContext, made: Sandbox, taken: Snapshot, version: int) -> None:
    for file in taken.files[:FILES_KEPT]:
        if file.kind == "deleted":
            continue
        try:
            content = await read_file(
                made.mirror, taken.commit, file.path, max_bytes=FILE_BYTES_MAX
            )
        except TooLarge:
            continue  # it is in the archive all the same
        if content is not None:
            await ctx.store(f"v{version}/{file.path}", content, media_type="text/plain")


def _record_file(ctx: StepContext) -> Path:
    return ctx.work_dir / f"{ctx.step.id}-{ctx.round}.json"


def _read_record(file: Path) -> dict[str, Any] | None:
    try:
        return orjson.loads(file.read_bytes())
    except FileNotFoundError:
        return None
