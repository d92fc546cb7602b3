"""Live events: two WebSockets and their polling twin, all reading the one log (RUN-5).

`/ws/missions/{id}` follows one mission, `/api/live` everything that the caller may see, and
`GET /api/events` answers with exactly the same items for those who poll.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, WebSocket

from quarterdeck.core.events import EventType
from quarterdeck.core.ids import MissionId
from quarterdeck.server.deps import CallerDep
from quarterdeck.server.live_hub import Hub
from quarterdeck.server.live_protocol import FRAME_BYTES_MAX, MISSIONS_MAX, Frame, events_json
from quarterdeck.server.live_socket import check_place, room_of, serve
from quarterdeck.server.missions import WAIT_S_MAX
from quarterdeck.storage.sealed import PAGE_MAX, Page, Wanted

router = APIRouter(tags=["live"])

ANSWER_BYTES_MAX = 16 * FRAME_BYTES_MAX


@router.websocket("/ws/missions/{mission_id}")
async def follow_mission(websocket: WebSocket, mission_id: str) -> None:
    """Everything that happens to one mission, from `?after=SEQ` on (RUN-5)."""
    await serve(websocket, mission_id)


@router.websocket("/api/live")
async def follow_all(websocket: WebSocket) -> None:
    """Everything that the caller may see; `?after=`, `?mission=` and `?type=` choose (RUN-5)."""
    await serve(websocket, None)


@router.get("/api/events", response_class=Response)
async def events(
    request: Request,
    who: CallerDep,
    after: Annotated[int, Query(ge=0, le=2**53 - 1)] = 0,
    wait_s: Annotated[float, Query(ge=0, le=WAIT_S_MAX)] = 0,
    mission: Annotated[list[MissionId] | None, Query(max_length=MISSIONS_MAX)] = None,
    type_: Annotated[list[EventType] | None, Query(alias="type", max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_MAX,
) -> Response:
    """The events after a place, byte for byte as the WebSockets send them (RUN-5).

    Without any it waits up to `wait_s` seconds for the next one. The answer's `seq` is the `after`
    of the next call.
    """
    hub = room_of(request.app).hub
    await check_place(hub, after)
    wanted = Wanted(
        who.workspace,
        frozenset(mission) if mission else None,
        frozenset(kind.value for kind in type_) if type_ else None,
    )
    page = _cut(await _next(hub, wanted, after, wait_s=wait_s, limit=limit), limit)
    return Response(events_json(page.events, page.seq), media_type="application/json")


async def _next(hub: Hub, wanted: Wanted, after: int, *, wait_s: float, limit: int) -> Page:
    """The first page that is not empty; empty when the time is over."""
    subscription = hub.join(wanted, after, _never)
    try:
        async with asyncio.timeout(wait_s or None):
            while True:
                page = await hub.page(subscription, limit=limit)
                subscription.seq = page.seq
                if page.events or (page.seq >= hub.head and not wait_s):
                    return page
                if hub.settle(subscription):
                    subscription.behind.clear()
                    await subscription.behind.wait()
    except TimeoutError:
        return Page([], hub.place(subscription))
    finally:
        hub.leave(subscription)


def _never(_frame: Frame) -> bool:
    """A poll takes no frames; that it could not take one wakes it."""
    return False


def _cut(page: Page, limit: int) -> Page:
    """As much of the page as one answer may carry."""
    kept = size = 0
    for event in page.events[:limit]:
        size += len(event.json)
        if kept and size > ANSWER_BYTES_MAX:
            break
        kept += 1
    if kept == len(page.events):
        return page
    return Page(page.events[:kept], page.events[kept - 1].seq)
