"""What people can say to a waiting mission, by what they mean rather than by step."""

from __future__ import annotations

from collections.abc import Mapping

from quarterdeck.core.clock import iso
from quarterdeck.core.errors import Conflict
from quarterdeck.core.events import Json
from quarterdeck.core.run import ENDED, Run, Status
from quarterdeck.core.step import Answer
from quarterdeck.engine.engine import Engine, Key
from quarterdeck.engine.submit import check_free_json


def awaited(run: Run) -> list[dict[str, Json]]:
    """Every question the mission waits on: the step, the question, its choices and details."""
    return [
        {"step": step_id, **(run.steps[step_id].question or {})}
        for step_id in run.in_status(Status.WAITING)
        if run.steps[step_id].question
    ]


async def answer(
    engine: Engine,
    key: Key,
    choices: tuple[str, ...],
    *,
    actor: str,
    reason: str = "",
    digest: str | None = None,
    data: Mapping[str, Json] | None = None,
) -> Run:
    """Give the first of `choices` that a waiting step offers.

    Raises:
        InvalidInput, TooLarge: when `data` is no JSON, or over the limits.
        NotFound: when there is no such mission.
        Conflict: when nothing waits for any of these; says what is waited for.
    """
    check_free_json(data or {}, "data")
    run = await engine.run(key)
    for question in awaited(run):
        offered = {str(choice["id"]) for choice in question["choices"]}
        wanted = next((choice for choice in choices if choice in offered), None)
        if wanted is not None:
            given = Answer(wanted, actor, iso(engine.clock.now()), reason, dict(data or {}))
            return await engine.answer(key, str(question["step"]), given, digest=digest)
    raise Conflict(_nothing_waits(run, choices), where="mission", hint=_what_now(run))


def _nothing_waits(run: Run, choices: tuple[str, ...]) -> str:
    wanted = " or ".join(choices)
    if run.status in ENDED:
        return f"The mission is {run.status.value}; there is nothing to {wanted}."
    return f"The mission does not wait for anybody to {wanted}."


def _what_now(run: Run) -> str | None:
    questions = awaited(run)
    if not questions:
        running = run.in_status(Status.RUNNING)
        return f"It works on: {', '.join(running)}." if running else None
    offers = [
        f"{question['step']} ({', '.join(str(c['id']) for c in question['choices'])})"
        for question in questions
    ]
    return f"It waits at: {'; '.join(offers)}."
