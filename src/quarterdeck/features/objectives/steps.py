"""The step kinds of an objective mission: two answers of a person, then the six reported steps."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from quarterdeck.core.errors import StepFailed
from quarterdeck.core.events import EventType, Json, Recorded
from quarterdeck.core.step import Choice, Done, Effect, Outcome, StepKind, Wait
from quarterdeck.engine.context import Resources, StepContext
from quarterdeck.engine.reactions import Reaction
from quarterdeck.features.objectives.budget import Allowance, allowance
from quarterdeck.features.objectives.charter import charter_of
from quarterdeck.features.objectives.intent import classify
from quarterdeck.features.objectives.objectives import Objectives
from quarterdeck.features.objectives.record import APPROVAL
from quarterdeck.features.objectives.scope import DEFAULT_PORTS, Domain, Target
from quarterdeck.features.objectives.tools import Findings, choose, requests_needed, tool_report

APPROVE = Choice("approve", "Approve the objective and its scope")
REJECT = Choice("reject", "Reject it: nothing is fetched")
EXECUTE = Choice("execute", "Execute it now")


async def approval(ctx: StepContext) -> Outcome:
    """Whether the objective may be looked into, within its scope (step kind `objective.approval`).

    The answer is bound to the digest of objective, scope, budget and tool.
    """
    charter = charter_of(ctx.mission)
    if not ctx.answers:
        question = "May this objective be looked into, on these sites alone?"
        return Wait(question, (APPROVE, REJECT), charter.as_json(), charter.digest)
    given = ctx.answers[-1]
    approved = given.choice == APPROVE.id
    return Done(
        {
            "approved": approved,
            "outcome": None if approved else "rejected",
            "actor": given.actor,
            "at": given.at,
            "reason": given.reason,
            "digest": charter.digest,
        }
    )


async def execution(ctx: StepContext) -> Outcome:
    """An approved objective waits to be executed (step kind `objective.execution`)."""
    if not ctx.answers:
        return Wait("The objective is approved. Execute it?", (EXECUTE,))
    return Done({"actor": ctx.answers[-1].actor, "at": ctx.answers[-1].at})


async def verification(ctx: StepContext) -> Done:
    """Check the approval, the scope, and that its sites may be reached (step kind
    `objective.verification`)."""
    charter, ours = charter_of(ctx.mission), ctx.get(Objectives)
    approved = ctx.outputs[APPROVAL]
    if approved["digest"] != charter.digest:
        raise StepFailed("The objective changed after it was approved.", where="digest")
    async with ours.fetcher(ctx.mission.workspace, charter.scope, ours.meter(ours.ceiling)) as net:
        domains = charter.scope.domains
        misses = await asyncio.gather(*(net.check(_front(domain)) for domain in domains))
    barred = {str(d): m.as_json() for d, m in zip(domains, misses, strict=True) if m is not None}
    if len(barred) == len(domains):
        reasons = "; ".join(str(miss["reason"]) for miss in barred.values())
        raise StepFailed(f"No allowed domain may be reached: {reasons}", where="scope")
    reachable = [str(domain) for domain in domains if str(domain) not in barred]
    said = f"Approved by {approved['actor']}; {len(reachable)} of {len(domains)} domains resolve."
    return Done({"message": said, "reachable": reachable, "barred": barred})


async def intent_classification(ctx: StepContext) -> Done:
    """Say what sort of question it is, by its words (step kind `objective.intent_classification`)."""
    found = classify(charter_of(ctx.mission).objective)
    because = ", ".join(dict.fromkeys(word for word, _place, _name in found.basis))
    unsaid = "No keyword says what sort of question it is."
    said = f"A question of the sort {found.intent!r}, by: {because}." if found.intent else unsaid
    return Done({"message": said, **found.as_json()})


async def budget_check(ctx: StepContext) -> Done:
    """Compare what is stated with what is needed at least (step kind `objective.budget_check`)."""
    charter, ours = charter_of(ctx.mission), ctx.get(Objectives)
    allowed = allowance(charter.budget, ours.ceiling)
    needed = {
        tool: requests_needed(tool, len(charter.scope.domains))
        for tool in ours.tools
        if charter.tool in {None, tool}
    }
    if needed and allowed.requests < min(needed.values()):
        raise StepFailed(
            f"The budget allows {allowed.requests} requests; at least {min(needed.values())} are "
            "needed.",
            where="constraints.budget.max_requests",
        )
    stated = charter.budget.model_dump()
    silent = "nothing is stated; the installation's limits hold"
    said = silent if not any(stated.values()) else "the stated budget holds, within the limits"
    return Done(
        {
            "message": f"At most {allowed.requests} requests, {allowed.size_bytes} bytes and "
            f"{allowed.seconds:g} s: {said}.",
            "stated": stated,
            "allowed": allowed.as_json(),
            "requests_needed": needed,
        }
    )


async def tool_selection(ctx: StepContext) -> Done:
    """Choose the tool and say why (step kind `objective.tool_selection`)."""
    charter, ours = charter_of(ctx.mission), ctx.get(Objectives)
    choice = choose(charter, _allowed(ctx), has_engine="web_search" in ours.tools)
    if choice.tool is None:
        raise StepFailed(f"No tool can be used: {choice.reason}", where="tool")
    candidates = [
        {"tool": c.tool, "eligible": c.eligible, "reason": c.reason} for c in choice.candidates
    ]
    return Done(
        {
            "message": f"{choice.tool}: {choice.reason}",
            "tool": choice.tool,
            "reason": choice.reason,
            "order": choice.order,
            "candidates": candidates,
        }
    )


async def tool_execution(ctx: StepContext) -> Done:
    """Look it up with the chosen tool, or the next where that one fails (step kind
    `objective.tool_execution`)."""
    charter, ours = charter_of(ctx.mission), ctx.get(Objectives)
    terms = [str(term) for term in ctx.outputs["intent_classification"]["terms"]]
    meter = ours.meter(_allowed(ctx))
    failed: list[str] = []
    async with ours.fetcher(ctx.mission.workspace, charter.scope, meter) as fetcher:
        for name in ctx.outputs["tool_selection"]["order"]:
            try:
                findings = await ours.tools[name].look_up(terms, fetcher, ctx.progress)
            except StepFailed as error:
                failed.append(str(error))
                continue
            if findings.looked:
                return await _found(ctx, findings, terms, spent=meter.as_json(), failed=failed)
            failed.append(_unread(findings))
    raise StepFailed(f"Nothing could be looked at. {' '.join(failed)}", where="tool", retry=True)


async def finalize(ctx: StepContext) -> Done:
    """Store the execution record (step kind `objective.finalize`)."""
    key = (ctx.mission.workspace, ctx.mission.id)
    record = await ctx.get(Objectives).record(key, finished=ctx.step.id)
    used = ctx.outputs["tool_execution"]
    document = {
        "mission_id": ctx.mission.id,
        "charter": charter_of(ctx.mission).as_json(),
        "approval": ctx.outputs[APPROVAL],
        "intent": ctx.outputs["intent_classification"],
        "selection": ctx.outputs["tool_selection"],
        "evidence": used["evidence"],
        "sources": sorted({str(passage["url"]) for passage in used["passages"]}),
        "spent": used["spent"],
        "findings": used["artifact"],
        "execution_record": record,
    }
    artifact = await ctx.store(
        "execution_record",
        orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        path=f"mission_briefs/{ctx.mission.id}/execution_log/execution_log.json",
    )
    found = bool(used["passages"])
    return Done(
        {
            "message": f"{len(used['passages'])} passages are kept with their sources.",
            "outcome": "found" if found else "nothing_found",
            "execution_record": record,
            "artifact": artifact.as_json(),
        }
    )


async def _found(
    ctx: StepContext,
    findings: Findings,
    terms: list[str],
    *,
    spent: dict[str, Json],
    failed: list[str],
) -> Done:
    """The tool's report; the passages are kept apart from the learning memory, as strangers'."""
    report = await asyncio.to_thread(tool_report, findings, terms)
    note = ctx.outputs["intent_classification"].get("note")
    report["notes"] = [*failed, *findings.notes, *([note] if note else [])]
    artifact = await ctx.store("findings", orjson.dumps(report, option=orjson.OPT_INDENT_2))
    shown = "unknown" if report["confidence"] is None else f"{report['confidence']:.2f}"
    message = (
        f"{findings.tool}: {len(report['passages'])} passages of {findings.in_scope} pages, "
        f"{findings.outside} results from outside of the scope; confidence {shown}."
    )
    return Done({"message": message, **report, "spent": spent, "artifact": artifact.as_json()})


def _unread(findings: Findings) -> str:
    reasons = list(dict.fromkeys(miss.reason for miss in findings.misses))[:3]
    return f"{findings.tool}: {' '.join(reasons) or 'no page was read.'}"


def _allowed(ctx: StepContext) -> Allowance:
    given: dict[str, Any] = ctx.outputs["budget_check"]["allowed"]
    return Allowance(given["max_requests"], given["max_bytes"], given["max_seconds"])


def _front(domain: Domain) -> Target:
    scheme = "http" if domain.port == DEFAULT_PORTS["http"] else "https"
    return Target(scheme, domain.host, domain.port or DEFAULT_PORTS[scheme], "/")


async def _keep_record(recorded: Recorded, resources: Resources) -> None:
    event = recorded.event
    if event.mission is not None:
        await resources.get(Objectives).keep_record((event.workspace, event.mission))


STEPS: tuple[StepKind[StepContext], ...] = (
    StepKind("objective.approval", approval, Effect.PURE, timeout_s=30, weight_s=0.0),
    StepKind("objective.execution", execution, Effect.PURE, timeout_s=30, weight_s=0.0),
    StepKind("objective.verification", verification, Effect.PURE, timeout_s=60, weight_s=0.5),
    StepKind("objective.intent_classification", intent_classification, Effect.PURE, weight_s=0.1),
    StepKind("objective.budget_check", budget_check, Effect.PURE, weight_s=0.1),
    StepKind("objective.tool_selection", tool_selection, Effect.PURE, weight_s=0.1),
    StepKind(
        "objective.tool_execution", tool_execution, Effect.PURE, attempts_max=2, weight_s=10.0
    ),
    StepKind("objective.finalize", finalize, Effect.IDEMPOTENT, attempts_max=3, weight_s=0.2),
)
"""Whoever reads pages again after a crash changes nothing: they are only read."""
REACTIONS = (Reaction("objectives.record", (EventType.MISSION_FINISHED,), _keep_record),)
