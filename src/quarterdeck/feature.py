"""Feature: what a vertical slice brings to the product, listed by hand in `app.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import APIRouter

from quarterdeck.core.events import EventType, Recorded
from quarterdeck.core.step import StepKind
from quarterdeck.engine.context import Resources, StepContext


@dataclass(frozen=True, slots=True)
class Reaction:
    """Work that follows from facts: called once for each event of these types, in order.

    `name` is where its place in the log is remembered; after a crash an event may come again, so
    `run` must be safe to repeat.
    """

    name: str
    types: tuple[EventType, ...]
    run: Callable[[Recorded, Resources], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Feature:
    """One slice: its step kinds, its tables (safe to repeat), its routes and its reactions."""

    name: str
    steps: tuple[StepKind[StepContext], ...] = ()
    tables: tuple[str, ...] = ()
    routes: APIRouter | None = None
    reactions: tuple[Reaction, ...] = ()
