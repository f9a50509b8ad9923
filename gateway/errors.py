"""The one place that turns errors into responses: `{"error": {"code", "message", "index"}}`."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from embark.errors import BadRequest, EmbArkError, PayloadTooLarge, Unavailable
from embark.log import logger
from gateway.responses import json_response

_RETRY_AFTER_SECONDS = "1"

_log = logger(__name__)


def register(app: Flask) -> None:
    """Install the handlers."""
    app.register_error_handler(EmbArkError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def describe(error: EmbArkError) -> dict[str, Any]:
    """Return an error as clients read it."""
    described: dict[str, Any] = {"code": error.code, "message": error.message}
    if isinstance(error, BadRequest) and error.index is not None:
        described["index"] = error.index
    return described


def _known(error: EmbArkError) -> Response:
    response = json_response({"error": describe(error)}, error.http_status)
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = _RETRY_AFTER_SECONDS
    return response


def _http(error: HTTPException) -> Response:
    if error.code == PayloadTooLarge.http_status:
        message = "the request's body is larger than the limit, gateway.max_body_bytes"
        return _known(PayloadTooLarge(message, code="body_too_large"))
    code = (error.name or "error").lower().replace(" ", "_")
    body = {"error": {"code": code, "message": error.description or error.name}}
    response = json_response(body, error.code or 500)
    response.headers.extend(
        (name, value) for name, value in error.get_headers() if name in ("Allow", "Retry-After")
    )
    return response


def _unexpected(error: Exception) -> Response:
    _log.error("unexpected_error", exc_info=error)
    return _known(EmbArkError("an unexpected error; the gateway's log has the details"))
