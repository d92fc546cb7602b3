"""Works in rounds: show files, take whole files back under a grammar, test, tell what failed."""

from __future__ import annotations

import asyncio

from quarterdeck.core.errors import NotFound
from quarterdeck.features.coding.implementers.agent.options import AgentOptions
from quarterdeck.features.coding.implementers.agent.rounds import Circles
from quarterdeck.features.coding.implementers.agent.testing import Bench, Tested
from quarterdeck.features.coding.implementers.agent.whole_file import (
    INSTRUCTIONS,
    Answer,
    answer_from,
    answer_schema,
    apply_edits,
    shown_files,
    verdict,
)
from quarterdeck.features.coding.implementers.agent.workbench import Stopped
from quarterdeck.features.coding.implementers.brief import RULES, brief_of
from quarterdeck.features.coding.implementers.port import Task
from quarterdeck.features.coding.implementers.progress import Progress
from quarterdeck.features.coding.implementers.tree import SandboxTree
from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import Message, ModelFailed, ModelRef, Reply, Request

PURPOSE = "implement"


async def work_in_whole_files(
    task: Task,
    gateway: Gateway,
    model: ModelRef,
    options: AgentOptions,
    tree: SandboxTree,
    bench: Bench,
    progress: Progress,
    *,
    allow_cloud: bool,
) -> str:
    """Go on until the tests are green or the model says it is done; its last summary.

    Raises:
        Stopped: the steps or tokens are used up, or rounds bring nothing new.
        ModelFailed: the model gave no usable answer.
    """
    circles = Circles()
    tokens = 0
    told = ""
    for step in range(1, options.steps_max + 1):
        reply = await _asked(task, gateway, model, options, tree, told, allow_cloud=allow_cloud)
        tokens += (reply.input_tokens or 0) + (reply.output_tokens or 0)
        if tokens > options.tokens_max:
            raise Stopped(f"The budget of {options.tokens_max} tokens is used up.")
        if not isinstance(reply.parsed, dict):
            told = f"The answer did not fit: {reply.problem}"
            _stop_at(circles.called("answer", told))
            continue
        answer = answer_from(reply.parsed)
        progress.say(f"Round {step}: {answer.summary}")
        problems = await asyncio.to_thread(apply_edits, tree, answer.edits)
        tested = await _tested(bench)
        if tested is not None:
            progress.say(tested.headline, tests=tested.counts())
            _stop_at(circles.tested(tested.round))
        if _is_over(answer, tested, problems):
            return answer.summary
        told = verdict(tested, problems)
    raise Stopped(f"The budget of {options.steps_max} steps is used up.")


def _is_over(answer: Answer, tested: Tested | None, problems: list[str]) -> bool:
    """Whether another round is pointless: green tests, or nothing that could be checked."""
    if tested is not None:
        return tested.green
    return not problems and (answer.done or not answer.edits)


def _stop_at(circle: str | None) -> None:
    if circle is not None:
        raise Stopped(circle)


async def _tested(bench: Bench) -> Tested | None:
    try:
        return await bench.test()
    except NotFound:
        return None


async def _asked(
    task: Task,
    gateway: Gateway,
    model: ModelRef,
    options: AgentOptions,
    tree: SandboxTree,
    told: str,
    *,
    allow_cloud: bool,
) -> Reply:
    # Each round starts afresh with the files as they are: small models have small contexts.
    shown = [brief_of(task), f"## Files\n{await shown_files(tree, task)}"]
    if told:
        shown.append(f"## What your last answer led to\n{told}")
    request = Request(
        model=model,
        messages=(
            Message("system", f"{RULES}\n\n{INSTRUCTIONS}"),
            Message("user", "\n\n".join(shown)),
        ),
        schema=answer_schema(),
        max_tokens=options.answer_tokens_max,
        temperature=options.temperature,
        seed=task.seed,
    )
    reply = await gateway.complete(request, purpose=PURPOSE, allow_cloud=allow_cloud)
    if reply.finish_reason in ("length", "cut") and reply.parsed is None:
        raise ModelFailed(
            f"Its answer is longer than {options.answer_tokens_max} tokens.",
            kind="too_large",
            where=f"model {model}",
            hint="Give it more answer_tokens_max, or smaller files.",
        )
    return reply
