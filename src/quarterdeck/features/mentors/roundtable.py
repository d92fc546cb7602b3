"""Asks every mentor at once; one that is slow, broken or endless is recorded, and holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from quarterdeck.core.clock import Clock
from quarterdeck.core.errors import NotFound, QuarterdeckError
from quarterdeck.core.events import Json
from quarterdeck.core.mission import TaskKind
from quarterdeck.features.mentors.calibration import Outcomes
from quarterdeck.features.mentors.consensus import Ballot, borda, stance, unassailable, vote_weights
from quarterdeck.features.mentors.models import Installed
from quarterdeck.features.mentors.opinion import BriefOpinion, Opinion, parsed
from quarterdeck.features.mentors.prompt import Prompt
from quarterdeck.features.mentors.routing import Mentor, Routing, route
from quarterdeck.features.mentors.settings import MentorSettings
from quarterdeck.llm.gateway import Gateway, OnUsage
from quarterdeck.llm.port import Limits, Message, ModelRef, Request, Usage

OPINION_TOKENS_MAX = 900
TEXT_CHARS_KEPT = 8_000
QUEUE_S = 1_800.0
"""How long a call may wait for a free place at its server, whatever the others there do."""
_LEFT_MIN_S = 0.005

InstalledModels = Callable[[], Awaitable[Sequence[ModelRef]]]
OutcomeSource = Callable[[str, str, str], Awaitable[tuple[int, int]]]
"""(workspace, task kind, agreement bucket) → (upheld, total) of earlier missions like this one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of one mentor, or the reason why there is none; None means unknown."""

    text: str
    opinion: Opinion | None
    error: str | None
    seed: int
    temperature: float
    latency_ms: int
    queued_ms: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None

    def as_json(self) -> dict[str, Json]:
        return {
            "text": self.text,
            "opinion": self.opinion.model_dump(mode="json") if self.opinion else None,
            "error": self.error,
            "seed": self.seed,
            "temperature": self.temperature,
            "latency_ms": self.latency_ms,
            "queued_ms": self.queued_ms,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "finish_reason": self.finish_reason,
        }


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of asking one mentor."""

    mentor: Mentor
    samples: tuple[Sample, ...]
    latency_ms: int
    error: str | None = None

    @property
    def opinions(self) -> tuple[Opinion, ...]:
        return tuple(s.opinion for s in self.samples if s.opinion is not None)

    def problem(self) -> str | None:
        """Why no sample is usable, or None when one is."""
        if self.opinions:
            return None
        return self.error or next((s.error for s in self.samples if s.error), "No answer.")


class Mentors:
    """The mentors of this installation: wired once, used by the steps of this feature.

    `installed` lists the models that can be asked now; `by_workspace` holds the settings of
    workspaces that have their own; `outcomes` is what calibrates confidence (None: nothing does).
    """

    def __init__(
        self,
        gateway: Gateway,
        installed: InstalledModels,
        settings: MentorSettings,
        *,
        by_workspace: Mapping[str, MentorSettings] | None = None,
        outcomes: OutcomeSource | None = None,
    ) -> None:
        self.gateway = gateway
        self._installed = installed
        self._settings = settings
        self._by_workspace = by_workspace or {}
        self._outcomes = outcomes

    def settings(self, workspace: str) -> MentorSettings:
        """The settings of a workspace."""
        return self._by_workspace.get(workspace, self._settings)

    async def outcomes(self, workspace: str, kind: TaskKind, bucket: str) -> Outcomes:
        """How earlier missions like this one ended, as far as anything is known."""
        if self._outcomes is None:
            return Outcomes()
        upheld, total = await self._outcomes(workspace, kind.value, bucket)
        return Outcomes(upheld, total)

    async def routing(self, kind: TaskKind, workspace: str) -> Routing:
        """Who is asked about this kind of task; an unreachable model server is a note, no error."""
        settings = self.settings(workspace)
        try:
            refs = await self._installed()
        except QuarterdeckError as error:
            note = f"The installed models could not be listed: {error}"
            return Routing(kind, (), "nobody", tuple(settings.table.get(kind, ())), (), note)
        installed = [
            Installed(ref, local) for ref in refs if (local := self._local(ref)) is not None
        ]
        return route(kind, installed, table=settings.table, cloud_allowed=settings.cloud_allowed)

    def _local(self, ref: ModelRef) -> bool | None:
        try:
            return self.gateway.is_local(ref)
        except NotFound:
            return None


@dataclass(frozen=True, slots=True)
class Roundtable:
    """One round of questions: the door to the models, the rules, and the time."""

    gateway: Gateway
    on_usage: OnUsage
    settings: MentorSettings
    clock: Clock
    purpose: str

    async def ask(
        self, mentors: Sequence[Mentor], prompts: Mapping[ModelRef, Prompt]
    ) -> list[Answered]:
        """Ask all at once; the answers are in the order of `mentors`, whatever happened to each."""
        started_s = self.clock.monotonic_s()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._mentor(mentor, prompts[mentor.ref])) for mentor in mentors
            ]
            pending = set(tasks)
            while pending:
                decided = self._is_decided(mentors, [t.result() for t in tasks if t.done()])
                done, pending = await asyncio.wait(
                    pending,
                    timeout=self.settings.grace_s if decided else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    for task in pending:
                        task.cancel()
                    break
        waited_ms = round((self.clock.monotonic_s() - started_s) * 1000)
        return [
            Answered(mentor, (), waited_ms, "Not waited for: the result could not change any more.")
            if task.cancelled()
            else task.result()
            for mentor, task in zip(mentors, tasks, strict=True)
        ]

    def _is_decided(self, mentors: Sequence[Mentor], answered: Sequence[Answered]) -> bool:
        """Whether the leader is settled; never said while families share votes (weights move)."""
        families = {mentor.ref.family for mentor in mentors}
        if len(families) < len(mentors) or len(answered) == len(mentors):
            return False
        stances = [s for one in answered if (s := stance(self.ballot(one))) is not None]
        asked = {one.mentor.ref for one in answered}
        left = sum(self.settings.weight_of(m.ref) for m in mentors if m.ref not in asked)
        points = borda(stances, vote_weights([s.ballot for s in stances]))
        return len(stances) >= self.settings.quorum and unassailable(points, left)

    def ballot(self, answered: Answered) -> Ballot:
        """The answers of one mentor as its vote."""
        ref = answered.mentor.ref
        return Ballot(
            model=str(ref),
            family=ref.family,
            opinions=answered.opinions,
            error=answered.problem(),
            weight=self.settings.weight_of(ref),
            demonstration=ref.demonstration,
        )

    async def _mentor(self, mentor: Mentor, prompt: Prompt) -> Answered:
        """Its samples one after another, so that a stuck mentor holds one place of a server.

        The time-out counts the time that the mentor itself takes, not its wait for a free place;
        a mentor that has once run into it is not asked again.
        """
        samples: list[Sample] = []
        left_s = self.settings.mentor_timeout_s
        count = self.settings.samples_of(mentor)
        while len(samples) < count and left_s > _LEFT_MIN_S:
            sample = await self._sample(mentor.ref, prompt, len(samples), count, left_s)
            samples.append(sample)
            left_s -= sample.latency_ms / 1000
        return Answered(mentor, tuple(samples), sum(sample.latency_ms for sample in samples))

    async def _sample(
        self, ref: ModelRef, prompt: Prompt, n: int, count: int, left_s: float
    ) -> Sample:
        """One answer; whatever goes wrong with it is part of the record."""
        request = Request(
            model=ref,
            messages=(Message("system", prompt.system), Message("user", prompt.user)),
            schema=(BriefOpinion if ref.demonstration else Opinion).model_json_schema(),
            max_tokens=OPINION_TOKENS_MAX,
            temperature=self.settings.temperature if count > 1 else 0.0,
            seed=self.settings.seed + n,
        )
        seen: list[Usage] = []

        def record(usage: Usage) -> None:
            seen.append(usage)
            self.on_usage(usage)

        reply, opinion, error = None, None, None
        try:
            reply = await self.gateway.reporting_to(record).complete(
                request,
                purpose=self.purpose,
                allow_cloud=self.settings.cloud_allowed,
                limits=Limits(queue_s=QUEUE_S, first_chunk_s=left_s, total_s=left_s),
            )
            opinion = parsed(reply.text, Opinion, where=str(ref))
        except QuarterdeckError as problem:
            error = str(problem)
        except Exception as problem:  # noqa: BLE001 - a mentor may break in any way and never blocks
            error = f"The call broke: {type(problem).__name__}: {problem}"[:500]
        usage = seen[-1] if seen else None
        return Sample(
            text=reply.text[:TEXT_CHARS_KEPT] if reply else "",
            opinion=opinion,
            error=error,
            seed=self.settings.seed + n,
            temperature=request.temperature or 0.0,
            latency_ms=round(usage.duration_s * 1000) if usage else 0,
            queued_ms=round(usage.queued_s * 1000) if usage else 0,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            finish_reason=usage.finish_reason if usage else None,
        )
