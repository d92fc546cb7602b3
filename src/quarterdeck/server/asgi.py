"""The ASGI application: the gate, the routes, and errors as problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fastapi import APIRouter, FastAPI

from quarterdeck import __version__
from quarterdeck.server import documented, errors, live, missions
from quarterdeck.server.deps import CallerDep, Desk, DeskDep
from quarterdeck.server.gate import Gate
from quarterdeck.server.ui_stream import router as ui_stream_router

status_router = APIRouter(prefix="/api", tags=["status"])


@status_router.get("/health")
async def health() -> dict[str, str]:
    """Whether the server answers; says nothing else to strangers."""
    return {"status": "ok", "version": __version__}


@status_router.get("/status")
async def status(desk: DeskDep, _who: CallerDep) -> dict[str, Any]:
    """The parts of this installation as measured now, and how many missions are in each state."""
    return await desk.health()


@status_router.get("/models")
async def models(desk: DeskDep, _who: CallerDep) -> dict[str, Any]:
    """The running model servers and their models, and why others do not answer."""
    return await desk.models()


def create_app(
    desk: Desk, routers: Iterable[APIRouter], *, report: Callable[[str], None]
) -> FastAPI:
    """The application around a wired desk; `routers` are the features' own routes."""
    app = FastAPI(
        title="Quarterdeck",
        version=__version__,
        summary="Mission control for fleets of AI agents.",
        # The pages that the framework offers load programs from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.desk = desk
    app.add_middleware(Gate)
    errors.install(app, report)
    # The documented paths come first: `/missions/{mission_id}` would swallow them.
    for router in (documented.router, missions.router, live.router, status_router, *routers):
        app.include_router(router)
    app.include_router(ui_stream_router)
    return app
