"""What routes work with: the desk that the application wires, and who is calling."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from quarterdeck.core.errors import Unauthenticated
from quarterdeck.core.events import Json
from quarterdeck.core.ids import OWNER
from quarterdeck.engine.context import Resources
from quarterdeck.engine.engine import Engine
from quarterdeck.engine.recipes import Recipe
from quarterdeck.storage.bus import Bus


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything the routes need; `token` is the installation's own until people can sign in.

    `health` measures the parts of the installation now, `models` looks for model servers.
    """

    engine: Engine
    recipes: Mapping[str, Recipe]
    resources: Resources
    bus: Bus
    workspace: str
    token: str
    health: Callable[[], Awaitable[dict[str, Json]]]
    models: Callable[[], Awaitable[dict[str, Json]]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and for which workspace."""

    actor: str
    workspace: str


def desk_of(request: Request) -> Desk:
    """The desk of the application that serves this request."""
    return cast(Desk, request.app.state.desk)


_bearer = HTTPBearer(auto_error=False, description="The token that `quarterdeck serve` prints.")


def caller(desk: Desk, given: HTTPAuthorizationCredentials | None) -> Caller:
    """The caller.

    Raises:
        Unauthenticated: without a token, or with one that is not ours.
    """
    if given is None or not secrets.compare_digest(given.credentials.encode(), desk.token.encode()):
        raise Unauthenticated(
            "A valid token is needed.",
            where="Authorization",
            hint="Send 'Authorization: Bearer TOKEN' with the token that quarterdeck serve prints.",
        )
    return Caller(OWNER, desk.workspace)


# FastAPI would run plain functions in a thread, two hops for every request.
async def _desk(request: Request) -> Desk:
    return desk_of(request)


async def _caller(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    return caller(desk_of(request), given)


DeskDep = Annotated[Desk, Depends(_desk)]
CallerDep = Annotated[Caller, Depends(_caller)]
