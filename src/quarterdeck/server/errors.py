"""Errors as RFC 9457 problem details, whatever raised them."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from quarterdeck.core.errors import QuarterdeckError, Unavailable
from quarterdeck.core.validated import invalid

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
TYPE = "urn:quarterdeck:problem:"


def problem(status: int, code: str, title: str, detail: str, **more: str | None) -> JSONResponse:
    """One problem document; `where` and `hint` are extension members, left out when unknown."""
    body = {"type": TYPE + code, "title": title, "status": status, "detail": detail}
    extra = {name: value for name, value in more.items() if value is not None}
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == Unavailable.status else {}
    return JSONResponse({**body, **extra}, status, headers, MEDIA_TYPE)


def problem_of(error: QuarterdeckError) -> JSONResponse:
    """The problem document of one of our own errors."""
    return problem(
        error.status, error.code, error.title, error.message, where=error.where, hint=error.hint
    )


def install(app: FastAPI, report: Callable[[str], None]) -> None:
    """Answer every error as a problem; what nobody expected is reported and told as such."""

    async def ours(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, QuarterdeckError)
        return problem_of(error)

    async def body(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = "; ".join(
            f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()[:3]
        )
        return problem(422, "invalid-input", "Invalid input", f"{said}.", where=where)

    async def model(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ValidationError)
        return problem_of(invalid(error))

    async def http(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        detail = str(error.detail)
        code = detail.lower().replace(" ", "-")
        return problem(error.status_code, code, detail, f"{detail}.")

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        trace = "".join(traceback.format_exception(error))
        report(f"{request.method} {request.url.path}: {trace}")
        return problem(500, "internal", "Something went wrong", "The server's log says more.")

    app.add_exception_handler(QuarterdeckError, ours)
    app.add_exception_handler(RequestValidationError, body)
    app.add_exception_handler(ValidationError, model)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)
