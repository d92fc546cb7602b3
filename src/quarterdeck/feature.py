"""Feature: what a vertical slice brings to the product, listed by hand in `app.py`."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter

from quarterdeck.core.step import StepKind
from quarterdeck.engine.context import StepContext
from quarterdeck.engine.reactions import Reaction


@dataclass(frozen=True, slots=True)
class Feature:
    """One slice: its step kinds, its tables (safe to repeat), its routes and its reactions."""

    name: str
    steps: tuple[StepKind[StepContext], ...] = ()
    tables: tuple[str, ...] = ()
    routes: APIRouter | None = None
    reactions: tuple[Reaction, ...] = ()
