"""The step that turns the consensus into a checked plan (ORC-5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quarterdeck.core.errors import InvalidInput, QuarterdeckError, TooLarge
from quarterdeck.core.events import Json
from quarterdeck.core.mission import TaskKind
from quarterdeck.core.step import Done
from quarterdeck.engine.context import StepContext
from quarterdeck.features.mentors.consult import recorder
from quarterdeck.features.mentors.opinion import parsed
from quarterdeck.features.mentors.prompt import Material, plan_prompt, shortened
from quarterdeck.features.mentors.records import as_bytes, material
from quarterdeck.features.mentors.roundtable import QUEUE_S, Mentors
from quarterdeck.features.mentors.settings import MentorSettings
from quarterdeck.features.mentors.template import template_plan
from quarterdeck.features.mentors.workplan import Draft, WorkPlan, check, document
from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import Limits, Message, ModelRef, Request

PLAN_TOKENS_MAX = 2_400


@dataclass(frozen=True, slots=True)
class Planned:
    """A checked plan and how it came about; `degraded` gives the reason for a template plan."""

    plan: WorkPlan
    model: str | None = None
    corrected: bool = False
    degraded: str | None = None


@dataclass(frozen=True, slots=True)
class Planner:
    """The one model that writes the plan, with its rules."""

    gateway: Gateway
    settings: MentorSettings
    ref: ModelRef

    async def write(self, known: Material, advice: list[str]) -> tuple[WorkPlan, bool]:
        """A checked plan, and whether it took the one correction.

        Raises:
            QuarterdeckError: no usable plan after the correction, or no answer in time.
        """
        prompt = plan_prompt(known, advice)
        messages = (Message("system", prompt.system), Message("user", prompt.user))
        text = await self._draft(messages)
        try:
            return self._checked(text), False
        except (InvalidInput, TooLarge) as problem:
            correction = (
                f"This plan cannot be used. {problem} Send the whole plan again with this mended."
            )
        again = (
            *messages,
            Message("assistant", shortened(text, 6_000)),
            Message("user", correction),
        )
        return self._checked(await self._draft(again)), True

    def _checked(self, text: str) -> WorkPlan:
        plan = parsed(text, Draft, where=str(self.ref)).plan()
        check(plan)
        return plan

    async def _draft(self, messages: tuple[Message, ...]) -> str:
        patience_s = self.settings.plan_timeout_s
        request = Request(
            model=self.ref,
            messages=messages,
            schema=Draft.model_json_schema(),
            max_tokens=PLAN_TOKENS_MAX,
            temperature=0.0,
            seed=self.settings.seed,
        )
        reply = await self.gateway.complete(
            request,
            purpose="plan",
            allow_cloud=self.settings.cloud_allowed,
            limits=Limits(queue_s=QUEUE_S, first_chunk_s=patience_s, total_s=patience_s),
        )
        return reply.text


async def plan(ctx: StepContext) -> Done:
    """Write the plan, or fall back to the template, and keep it (step kind `plan`)."""
    agreed = ctx.outputs.get("agree", {})
    planned = await _planned(ctx, agreed)
    content = {
        **document(planned.plan),
        "mission_id": ctx.mission.id,
        "degraded": planned.degraded is not None,
        "degraded_reason": planned.degraded,
        "planned_by": planned.model,
        "corrected": planned.corrected,
        "consensus": agreed.get("status"),
    }
    artifact = await ctx.store(
        "implementation_plan",
        as_bytes(content),
        path=f"mission_briefs/{ctx.mission.id}/plan/implementation_plan.json",
    )
    return Done(
        {
            "document": document(planned.plan),
            "graph": planned.plan.model_dump(mode="json"),
            "degraded": planned.degraded is not None,
            "degraded_reason": planned.degraded,
            "planned_by": planned.model,
            "corrected": planned.corrected,
            "tasks": len(planned.plan.tasks),
            "plan": artifact.as_json(),
        }
    )


async def _planned(ctx: StepContext, agreed: Mapping[str, Any]) -> Planned:
    """The plan of the best model there is: the first that the table names for planning."""
    mentors = ctx.get(Mentors)
    consensus = agreed.get("consensus", {})
    fallback = template_plan(ctx.mission.brief, ctx.mission.constraints, _trusted(agreed))
    routing = await mentors.routing(TaskKind.PLANNING, ctx.mission.workspace)
    if not routing.mentors:
        return Planned(fallback, degraded=f"No model can write a plan. {routing.note}")
    ref = routing.mentors[0].ref
    if ref.demonstration:
        reason = "Only the demonstration model is here, and what it writes is not a plan."
        return Planned(fallback, degraded=reason)
    settings = mentors.settings(ctx.mission.workspace)
    planner = Planner(mentors.gateway.reporting_to(recorder(ctx)), settings, ref)
    ctx.progress(f"{ref} writes the plan.")
    try:
        written, corrected = await planner.write(
            material(ctx.mission, ctx.outputs), _advice(consensus, agreed)
        )
    except QuarterdeckError as error:
        return Planned(fallback, degraded=f"{ref} wrote no usable plan: {error}")
    return Planned(written, model=str(ref), corrected=corrected)


def _trusted(agreed: Mapping[str, Any]) -> Mapping[str, Json]:
    """The consensus for the template: a demonstration model's words are not advice."""
    return {} if agreed.get("demonstration") else agreed.get("consensus", {})


def _advice(consensus: Mapping[str, Any], agreed: Mapping[str, Any]) -> list[str]:
    """What the mentors said, verbatim: the consensus first, then who disagrees."""
    lines = []
    quote = consensus.get("quote")
    if quote:
        lines.append(f"Agreed ({agreed.get('tally')}): {quote['text']}")
    others = agreed.get("dissent") if quote else agreed.get("recommendations")
    word = "Disagrees" if quote else "Opinion"
    lines += [f"{word} ({one['approach']}): {one['text']}" for one in others or ()]
    return lines
