"""The learning memory over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from quarterdeck.features.memory.memory import Memory
from quarterdeck.server.deps import CallerDep, DeskDep

router = APIRouter(prefix="/api/memory", tags=["memory"])


@router.get("/search")
async def search_memory(
    q: Annotated[str, Query(min_length=1, max_length=1000, description="What to look for.")],
    desk: DeskDep,
    who: CallerDep,
    limit: Annotated[int, Query(ge=1, le=50)] = 20,
) -> dict[str, Any]:
    """Search everything that missions left behind; each hit says why it was found (ORC-12)."""
    hits = await desk.resources.get(Memory).search(who.workspace, q, limit=limit)
    return {"hits": [hit.as_json() for hit in hits]}
