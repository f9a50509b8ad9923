"""The one place that turns errors into responses, each in its protocol's shape."""

from __future__ import annotations

import math
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from embark.errors import (
    EmbArkError,
    PayloadTooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from embark.log import logger
from gateway.error_shapes import Problem, body_of, ours
from gateway.responses import json_response

_RETRY_AFTER_SECONDS = "1"

_log = logger(__name__)


def register(app: Flask) -> None:
    """Install the handlers."""
    app.register_error_handler(EmbArkError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def describe(error: EmbArkError) -> dict[str, Any]:
    """Return an error as our own clients read it."""
    return ours(problem_of(error))


def problem_of(error: EmbArkError) -> Problem:
    """Return an error as a problem."""
    # What it repeats of a request need not be Unicode, as an answer must.
    message = error.message.encode("utf-8", "backslashreplace").decode("utf-8")
    return Problem(error.http_status, error.code, message, error.index)


def headers_of(error: EmbArkError) -> dict[str, str]:
    """Return the headers that go with an error."""
    if isinstance(error, Unavailable):
        return {"Retry-After": _RETRY_AFTER_SECONDS}
    if isinstance(error, TooManyRequests):
        return {"Retry-After": str(math.ceil(error.retry_after_s))}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}


def _respond(problem: Problem) -> Response:
    return json_response(body_of(problem, request.path), problem.status)


def _known(error: EmbArkError) -> Response:
    response = _respond(problem_of(error))
    response.headers.update(headers_of(error))
    return response


def _http(error: HTTPException) -> Response:
    if error.code == PayloadTooLarge.http_status:
        message = "the request's body is larger than the limit, gateway.max_body_bytes"
        return _known(PayloadTooLarge(message, code="body_too_large"))
    code = (error.name or "error").lower().replace(" ", "_")
    message = error.description or error.name
    response = _respond(Problem(error.code or 500, code, message))
    response.headers.extend(
        (name, value) for name, value in error.get_headers() if name in ("Allow", "Retry-After")
    )
    return response


def _unexpected(error: Exception) -> Response:
    _log.error("unexpected_error", exc_info=error)
    return _known(EmbArkError("an unexpected error; the gateway's log has the details"))
