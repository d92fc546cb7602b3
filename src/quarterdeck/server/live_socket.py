"""One live WebSocket: who it is, what it wants, and how it keeps up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi.security import HTTPAuthorizationCredentials
from starlette.applications import Starlette
from starlette.websockets import WebSocket, WebSocketDisconnect

from quarterdeck.core.errors import (
    InvalidInput,
    NotFound,
    QuarterdeckError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from quarterdeck.core.ids import check_id
from quarterdeck.server.deps import Caller, Desk, caller
from quarterdeck.server.errors import problem_of
from quarterdeck.server.live_hub import Hub, Subscription
from quarterdeck.server.live_protocol import (
    MESSAGES_BURST,
    MESSAGES_PER_S,
    Bucket,
    Frame,
    Ping,
    Subscribe,
    TooMany,
    asked,
    close_code,
    close_reason,
    error_frame,
    event_frames,
    message,
    said,
)
from quarterdeck.server.live_wire import Gone, Wire, wire_of
from quarterdeck.storage.sealed import PAGE_MAX, Wanted

HEARTBEAT_S = 15.0
"""A socket without events says so; a client that hears nothing for twice as long reconnects."""
FIRST_MESSAGE_S = 10.0
STALL_S = 30.0
"""A client that reads nothing for so long is dropped; it can resume from its last place."""
FAREWELL_S = 5.0
PAGE_MIN = 16
SOCKETS_PER_CALLER_MAX = 2_000
SOCKETS_WITHOUT_TOKEN_MAX = 256


class Room:
    """The sockets of one application, counted, and the hub that they follow."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._sockets: Counter[str] = Counter()

    @contextmanager
    def seat(self, who: str, seats: int) -> Iterator[None]:
        """A place among `seats` for as long as the block runs; raises TooMany when all are taken."""
        if self._sockets[who] >= seats:
            raise TooMany(
                f"There are {seats} sockets already.", where="sockets", hint="Close one of them."
            )
        self._sockets[who] += 1
        try:
            yield
        finally:
            self._sockets[who] -= 1
            if not self._sockets[who]:
                del self._sockets[who]


def room_of(app: Starlette) -> Room:
    """The application's room; made by the first who comes."""
    room: Room | None = getattr(app.state, "live_room", None)
    if room is None:
        desk: Desk = app.state.desk
        room = app.state.live_room = Room(Hub(desk.engine.log))
    return room


async def check_place(hub: Hub, after: int) -> None:
    """Raise InvalidInput when the log has not come as far as `after`."""
    if not await hub.reaches(after):
        raise InvalidInput(
            f"The log ends at {hub.head}, before {after}.",
            where="after",
            hint=f"Give 0 to {hub.head}; this log may be another one than yours.",
        )


async def serve(websocket: WebSocket, mission: str | None) -> None:
    """Serve one socket to its end; `mission` binds it to one mission."""
    credentials = _credentials(websocket)
    try:
        if credentials is not None:
            caller(websocket.app.state.desk, credentials)
    except QuarterdeckError as error:
        await _refuse(websocket, error)
        return
    await websocket.accept()
    socket = Socket(websocket, room_of(websocket.app), mission, credentials)
    error = await socket.run()
    if error is not None:
        await _farewell(websocket, error, socket.wire)


class Socket:
    """One accepted WebSocket; `run` serves it."""

    def __init__(
        self,
        websocket: WebSocket,
        room: Room,
        mission: str | None,
        credentials: HTTPAuthorizationCredentials | None,
    ) -> None:
        desk: Desk = websocket.app.state.desk
        self.wire: Wire = wire_of(websocket.scope, websocket.send)
        self._websocket = websocket
        self._room = room
        self._hub = room.hub
        self._mission = mission
        self._credentials = credentials
        self._now_s = desk.engine.clock.monotonic_s
        self._bucket = Bucket(per_s=MESSAGES_PER_S, burst=MESSAGES_BURST, now_s=self._now_s())
        self._subscription: Subscription | None = None
        self._following: asyncio.Task[None] | None = None

    async def run(self) -> QuarterdeckError | None:
        """Serve until the client leaves (None) or may not go on (why)."""
        errors: list[QuarterdeckError] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.wire.run())
                await self._converse(tasks)
        except* (Gone, WebSocketDisconnect):
            pass
        except* QuarterdeckError as group:
            errors = _leaves(group)
        return errors[0] if errors else None

    async def _converse(self, tasks: asyncio.TaskGroup) -> None:
        """Find out who it is and what it wants, then hear what it says; never returns."""
        wish = asked(self._websocket.query_params.multi_items())
        if self._credentials is None:
            with self._room.seat("", SOCKETS_WITHOUT_TOKEN_MAX):
                first = await self._first()
            given = first.model_dump(exclude={"type", "token"}, exclude_none=True)
            wish = wish.model_copy(update=given)
        who = self._caller()
        with self._room.seat(who.actor, SOCKETS_PER_CALLER_MAX):
            await self._check_mission(who)
            await self._subscribe(wish, who, tasks)
            while True:
                await self._hear(who, tasks)

    async def _first(self) -> Subscribe:
        try:
            async with asyncio.timeout(FIRST_MESSAGE_S):
                first = said(await self._receive())
        except TimeoutError:
            first = Ping(type="ping")
        if not isinstance(first, Subscribe) or first.token is None:
            raise Unauthenticated(
                "A valid token is needed.",
                where="token",
                hint="Send it as a header, or first {'type': 'subscribe', 'token': …}.",
            )
        self._credentials = HTTPAuthorizationCredentials(scheme="Bearer", credentials=first.token)
        return first

    async def _hear(self, who: Caller, tasks: asyncio.TaskGroup) -> None:
        """Hear one message; one that does not fit is told and changes nothing."""
        text = await self._receive()
        try:
            heard = said(text)
            if isinstance(heard, Subscribe):
                await self._subscribe(heard, who, tasks)
            elif self._subscription is not None:
                await self._say(message("heartbeat", self._hub.place(self._subscription)))
        except TooLarge:
            raise
        except QuarterdeckError as error:
            await self._say(error_frame(error))

    async def _receive(self) -> str | bytes:
        received = await self._websocket.receive()
        if received["type"] == "websocket.disconnect":
            raise Gone
        if not self._bucket.take(self._now_s()):
            raise TooMany(
                f"More than {MESSAGES_PER_S} messages in a second.",
                where="messages",
                hint="One message can name all missions.",
            )
        text: str | bytes = received.get("text") or received.get("bytes") or ""
        return text

    def _caller(self) -> Caller:
        """Who this is; asked again and again, so that a token that is taken back ends the socket.

        Raises:
            Unauthenticated: when the token is not (or no longer) valid.
        """
        desk: Desk = self._websocket.app.state.desk
        return caller(desk, self._credentials)

    async def _check_mission(self, who: Caller) -> None:
        if self._mission is None:
            return
        desk: Desk = self._websocket.app.state.desk
        mission = check_id(self._mission, where="mission_id")
        if await desk.engine.missions.get(who.workspace, mission) is None:
            raise NotFound(f"There is no mission {mission!r}.", where="mission")

    async def _subscribe(self, wish: Subscribe, who: Caller, tasks: asyncio.TaskGroup) -> None:
        """Follow what is wished from now on, in place of what was followed before."""
        missions: frozenset[str] | None = wish.missions
        if self._mission is not None:
            if missions is not None:
                raise InvalidInput(
                    "This socket follows one mission.", where="missions", hint="Use /api/live."
                )
            missions = frozenset((self._mission,))
        types = None if wish.types is None else frozenset(kind.value for kind in wish.types)
        after = self._hub.head if wish.after is None else wish.after
        await check_place(self._hub, after)
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        await self._say(message("ready", after, head=self._hub.head, heartbeat_s=HEARTBEAT_S))
        wanted = Wanted(who.workspace, missions, types)
        self._following = tasks.create_task(self._follow(wanted, after))

    async def _follow(self, wanted: Wanted, after: int) -> None:
        """Keep a subscription up to date: catch up, rest while it is live, and again."""
        subscription = self._subscription = self._hub.join(wanted, after, self.wire.write)
        try:
            while True:
                await self._catch_up(subscription)
                await self._rest(subscription)
                if subscription.seq < self._hub.head:
                    await self._say(message("behind", subscription.seq, head=self._hub.head))
        finally:
            self._hub.leave(subscription)

    async def _catch_up(self, subscription: Subscription) -> None:
        """Send what is missing, page by page, only while the client reads, until it is live."""
        limit = PAGE_MAX
        while not self._settled(subscription):
            self._caller()
            await self._ready()
            try:
                page = await self._hub.page(subscription, limit=limit)
            except Exception as error:
                raise Unavailable(
                    f"The log cannot be read ({type(error).__name__}).",
                    where="log",
                    hint="Come back soon.",
                ) from error
            for frame in event_frames(page.events, page.seq):
                if not self.wire.write(frame):
                    limit = max(PAGE_MIN, limit // 2)
                    break
                subscription.seq = frame.seq
            else:
                subscription.seq = page.seq

    def _settled(self, subscription: Subscription) -> bool:
        """Whether it is live now and the client was told so."""
        if not self._hub.settle(subscription):
            return False
        subscription.behind.clear()
        if self.wire.write(message("live", subscription.seq)):
            return True
        self._hub.fall_behind(subscription)
        return False

    async def _rest(self, subscription: Subscription) -> None:
        """Wait until the hub cannot serve this socket any more; beat while nothing happens."""
        while subscription.live:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await subscription.behind.wait()
            except TimeoutError:
                self._caller()
                beat = message("heartbeat", self._hub.place(subscription))
                if not self.wire.write(beat):
                    self._hub.fall_behind(subscription)

    async def _say(self, frame: Frame) -> None:
        while not self.wire.write(frame):
            await self._ready()

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(STALL_S):
                await self.wire.ready()
        except TimeoutError:
            self.wire.abort()
            raise Gone from None


def _credentials(websocket: WebSocket) -> HTTPAuthorizationCredentials | None:
    header = websocket.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    known = token.strip() if scheme.lower() == "bearer" else ""
    return HTTPAuthorizationCredentials(scheme="Bearer", credentials=known)


def _leaves(group: BaseExceptionGroup[QuarterdeckError]) -> list[QuarterdeckError]:
    found: list[QuarterdeckError] = []
    for one in group.exceptions:
        found.extend(_leaves(one) if isinstance(one, BaseExceptionGroup) else [one])
    return found


async def _refuse(websocket: WebSocket, error: QuarterdeckError) -> None:
    """Say no before the socket is one: as a problem document where the server can."""
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(problem_of(error))
    else:
        await websocket.close(close_code(error), close_reason(error.message))


async def _farewell(websocket: WebSocket, error: QuarterdeckError, wire: Wire) -> None:
    """Say why, in a frame and in the close code; a client that does not read is dropped."""
    try:
        async with asyncio.timeout(FAREWELL_S):
            await websocket.send_text(error_frame(error).text)
            await websocket.close(close_code(error), close_reason(error.message))
    except TimeoutError:
        wire.abort()
    except (WebSocketDisconnect, RuntimeError, OSError):
        return
