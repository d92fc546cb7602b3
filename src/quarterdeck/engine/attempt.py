"""One attempt at one step: call the handler within its limits and say how it went."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson

from quarterdeck.core.errors import QuarterdeckError, StepFailed, Unavailable
from quarterdeck.core.events import Json
from quarterdeck.core.plan import StepSpec
from quarterdeck.core.step import Done, Outcome, StepKind, Wait
from quarterdeck.engine.context import StepContext

OUTPUTS_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; `retry` says whether another one may help."""

    error: str
    retry: bool
    trace: str | None = None


Result = Done | Wait | Failed


async def attempt(kind: StepKind[StepContext], spec: StepSpec, context: StepContext) -> Result:
    """Run the handler once. Cancellation passes through; everything else becomes a result."""
    limit_s = spec.timeout_s or kind.timeout_s
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            outcome = await kind.run(context)
        return _checked(outcome, kind)
    except TimeoutError as error:
        if limit.expired():
            return Failed(f"It took longer than {limit_s:g} s.", retry=True)
        return Failed(f"{type(error).__name__}: {error}", retry=True)
    except asyncio.CancelledError:
        if _is_cancelled():
            raise
        return Failed("Something it waited for was cancelled.", retry=True)
    except Unavailable as error:
        return Failed(str(error), retry=True)
    except StepFailed as error:
        return Failed(str(error), retry=error.retry)
    except QuarterdeckError as error:
        return Failed(str(error), retry=False)
    except Exception as error:  # noqa: BLE001 - one of the two supervising loops
        said = f"{type(error).__name__}: {error}"[:500]
        return Failed(f"Unexpected {said}", retry=True, trace=traceback.format_exc())


def _is_cancelled() -> bool:
    """Whether somebody cancels this task, rather than something that it awaits."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _checked(outcome: Outcome, kind: StepKind[StepContext]) -> Result:
    if isinstance(outcome, Wait):
        return outcome
    try:
        size = len(orjson.dumps(outcome.outputs))
    except TypeError as error:
        return Failed(f"The outputs of {kind.name} are not JSON: {error}.", retry=False)
    if size > OUTPUTS_BYTES_MAX:
        return Failed(
            f"The outputs of {kind.name} have {size} bytes; {OUTPUTS_BYTES_MAX} is the limit.",
            retry=False,
        )
    return outcome


def question_of(wait: Wait) -> Mapping[str, Json]:
    """The JSON of what a step asks, as stored and shown."""
    return {
        "question": wait.question,
        "choices": [asdict(choice) for choice in wait.choices],
        "detail": wait.detail,
        "digest": wait.digest,
    }
