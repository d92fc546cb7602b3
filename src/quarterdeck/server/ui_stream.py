"""Missions as UI message streams: start or attach, resume from the first chunk, stop (STR-1…5).

A chat is a mission: its id is the mission's, and its first message the brief. A stream that waits
for a person ends with finish reason `tool-calls`, and the client's next request, with the
decisions, goes on where that one ended.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from secrets import token_hex
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query, Response

from quarterdeck.core.clock import iso
from quarterdeck.core.errors import Conflict, InvalidInput, NotFound
from quarterdeck.core.events import Json
from quarterdeck.core.ids import ID_PATTERN
from quarterdeck.core.run import ENDED, Run, Status, standing
from quarterdeck.core.step import Answer
from quarterdeck.core.validated import validated
from quarterdeck.engine.engine import Key
from quarterdeck.engine.submit import Submission, submit
from quarterdeck.llm import chunks
from quarterdeck.server.deps import Caller, CallerDep, Desk, DeskDep
from quarterdeck.server.lines import wants_lines
from quarterdeck.server.mission_chunks import NEGATIVE, QUESTION
from quarterdeck.server.missions import key_of
from quarterdeck.server.stream_response import Events, OlderLines, StreamResponse
from quarterdeck.server.streams import Rested, Streams
from quarterdeck.server.ui_request import Asked, Decision, asked

router = APIRouter(prefix="/api", tags=["streams"])

Accept = Annotated[str, Header(max_length=1000)]
Until = Annotated[
    Literal["end", "rest"],
    Query(description="Follow to the mission's end, or until it waits for somebody."),
]


@router.post("/stream", response_class=Response)
async def start_stream(
    body: Annotated[Any, Body()], desk: DeskDep, who: CallerDep, accept: Accept = ""
) -> Response:
    """Start a mission and stream it, or go on with one that waited (`useChat`, `useCompletion`).

    Fields of the body that are not the AI SDK's are those of a submission (`recipe`, …).
    """
    given = asked(body)
    if given.text is None:
        return await _gone_on(given, desk, who, accept)
    run = await _started(given, given.text, desk, who)
    return _response(desk, (run.mission.workspace, run.mission.id), accept, until_rest=True)


@router.get("/missions/{mission_id}/stream", response_class=Response)
async def mission_stream(
    mission_id: str, desk: DeskDep, who: CallerDep, accept: Accept = "", until: Until = "end"
) -> Response:
    """The mission's stream from its first chunk on; 204 when it is over and nothing is stored."""
    return await _resumed(desk, key_of(who, mission_id), accept, until_rest=until == "rest")


@router.get("/stream/{chat_id}/stream", response_class=Response)
async def chat_stream(chat_id: str, desk: DeskDep, who: CallerDep, accept: Accept = "") -> Response:
    """The same for a chat, by the path that the AI SDK's transport asks; 204 for a new chat."""
    try:
        key = (who.workspace, mission_of(chat_id))
        return await _resumed(desk, key, accept, until_rest=True)
    except NotFound:
        return Response(status_code=204)


@router.post("/missions/{mission_id}/stream/stop")
async def stop_stream(mission_id: str, desk: DeskDep, who: CallerDep) -> dict[str, Any]:
    """Stop the mission that is streamed; a client that only goes away stops nothing."""
    key = key_of(who, mission_id)
    run = await desk.engine.run(key)
    if run.status in ENDED:
        return {"mission": mission_id, "stopped": False, "status": run.status.value}
    await desk.engine.cancel(key, actor=who.actor, reason="stopped by the client of its stream")
    return {"mission": mission_id, "stopped": True, "status": Status.CANCELLED.value}


def mission_of(chat_id: str) -> str:
    """The id of a chat's mission: its own where it can be one, else one made from it."""
    if re.fullmatch(ID_PATTERN, chat_id):
        return chat_id
    return f"chat-{hashlib.sha256(chat_id.encode('utf-8', 'replace')).hexdigest()[:32]}"


def _response(
    desk: Desk, key: Key, accept: str, *, until_rest: bool, after: int = 0
) -> StreamResponse:
    rested: Rested | None = None
    if until_rest:

        async def rested() -> bool:
            return standing(await desk.engine.run(key)) is Status.WAITING

    streams = desk.resources.get(Streams)
    telling = OlderLines(key[1]) if wants_lines(accept) else Events()
    preface = (chunks.start(key[1]),) if after else ()
    return StreamResponse(streams, key, telling, after=after, preface=preface, rested=rested)


async def _resumed(desk: Desk, key: Key, accept: str, *, until_rest: bool) -> Response:
    run = await desk.engine.run(key)
    if run.status in ENDED and not await desk.resources.get(Streams).is_stored(key):
        return Response(status_code=204)
    return _response(desk, key, accept, until_rest=until_rest)


async def _started(given: Asked, text: str, desk: Desk, who: Caller) -> Run:
    """The chat's mission, new or, when the same request comes again, the one it started."""
    mission_id = f"stream-{token_hex(8)}" if given.chat is None else mission_of(given.chat)
    key = (who.workspace, mission_id)
    fields: dict[str, Json] = {**given.more, "brief": text, "mission_id": mission_id}
    submission = validated(Submission, fields)
    streams = desk.resources.get(Streams)
    streams.expect(key)
    try:
        return await submit(
            desk.engine, desk.recipes, submission, workspace=who.workspace, actor=who.actor
        )
    except Conflict:
        known = await desk.engine.run(key)
        if known.mission.brief == text and given.trigger == "submit-message":
            return known
        raise Conflict(
            f"This chat is the mission {mission_id!r}, which has its brief already.",
            where="messages",
            hint="Start a new chat for another mission; change this one with its rerun.",
        ) from None
    finally:
        streams.expect_no_more(key)


async def _gone_on(given: Asked, desk: Desk, who: Caller, accept: str) -> Response:
    """Record what people decided, and stream what comes after the place the client has read to."""
    if given.chat is None:
        raise InvalidInput("It does not say which chat goes on.", where="id")
    key = (who.workspace, mission_of(given.chat))
    await desk.engine.run(key)
    async with desk.resources.get(Streams).attached(key) as writer:
        after = given.after or writer.stream.last_seq
        for decision in given.decisions:
            step = decision.approval.rpartition(":")[0]
            asking = writer.composer.state.open.get(step, {}).get(f"tool:{QUESTION}")
            # What somebody answered meanwhile is not answered twice: the stream tells it.
            if asking is not None and asking.wire == decision.approval:
                await _decide(desk, key, step, decision, who)
    return _response(desk, key, accept, until_rest=True, after=after)


async def _decide(desk: Desk, key: Key, step: str, decision: Decision, who: Caller) -> None:
    run = await desk.engine.run(key)
    question = run.steps[step].question or {}
    choice = chosen(question, approved=decision.approved)
    digest = decision.given.get("digest")
    answer = Answer(choice, who.actor, iso(desk.engine.clock.now()), decision.reason)
    shown = None if digest is None else str(digest)
    await desk.engine.answer(key, step, answer, digest=shown)


def chosen(question: Mapping[str, Json], *, approved: bool) -> str:
    """The choice that a plain yes or no means: the first that lets it go on, or that stops it.

    Raises:
        Conflict: when the question has no such choice.
    """
    offered = [str(choice["id"]) for choice in question.get("choices") or ()]
    fitting = [choice for choice in offered if (choice in NEGATIVE) is not approved]
    if not fitting:
        raise Conflict(
            f"It cannot be {'approved' if approved else 'refused'} with a plain answer.",
            where="approval",
            hint=f"Offered: {', '.join(offered) or 'nothing'}. Answer through the mission itself.",
        )
    return fitting[0]
