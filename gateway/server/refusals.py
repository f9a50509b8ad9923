"""Answers that need no application: the refusals of the server itself, as bytes."""

from __future__ import annotations

from http import HTTPStatus

import orjson
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)

from embark.errors import BadRequest, EmbArkError
from gateway.error_shapes import body_of
from gateway.errors import headers_of, problem_of

_STATUS = {
    LimitRequestLine: (HTTPStatus.REQUEST_URI_TOO_LONG, "uri_too_long"),
    LimitRequestHeaders: (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large"),
    ExpectationFailed: (HTTPStatus.EXPECTATION_FAILED, "expectation_failed"),
}


class Malformed(BadRequest):
    """The bytes are no request that this server reads."""

    code = "malformed"


class Late(BadRequest):
    """The client did not send its request in time."""

    code = "request_timeout"
    http_status = HTTPStatus.REQUEST_TIMEOUT


def malformed(error: ParseException) -> Malformed:
    """Return the error of a head that gunicorn's parser refused."""
    status, code = _STATUS.get(type(error), (HTTPStatus.BAD_REQUEST, "malformed"))
    refused = Malformed(f"the request cannot be read ({type(error).__name__})", code=code)
    refused.http_status = status
    return refused


def refusal(error: EmbArkError, path: str, method: str = "", *, keep: bool) -> bytes:
    """Return a whole answer in HTTP.

    Args:
        error: why.
        path: what was asked, which says in whose shape an error is told.
        method: a HEAD has no body.
        keep: whether the connection stays open.
    """
    status = HTTPStatus(error.http_status)
    body = orjson.dumps(body_of(problem_of(error), path))
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "keep-alive" if keep else "close",
        **headers_of(error),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\n{lines}\r\n".encode("latin-1")
    return head if method == "HEAD" else head + body
