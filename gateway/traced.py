"""A span for each request that asks for something; installed when traces are sent."""

from __future__ import annotations

from contextlib import AbstractContextManager

from flask import Flask, Response, g, request

from embark import tracing


def follow(app: Flask) -> None:
    """Begin a span with each POST, below the caller's if it sent one, and end it with the answer.

    GETs are health, metrics and lists: they would drown the rest.
    """

    @app.before_request
    def begin() -> None:
        if request.method == "POST":
            route = request.url_rule.rule if request.url_rule else "unknown"
            attributes = {"http.request.method": "POST", "http.route": route}
            parent = request.headers.get(tracing.HEADER, "")
            g.span = tracing.request(f"POST {route}", parent, attributes)
            g.span.__enter__()

    @app.after_request
    def note(response: Response) -> Response:
        if "span" in g:
            tracing.note({"http.response.status_code": response.status_code})
            if response.status_code >= 500:
                tracing.fail(str(response.status_code))
        return response

    @app.teardown_request
    def end(_error: BaseException | None) -> None:
        span: AbstractContextManager[None] | None = g.pop("span", None)
        if span is not None:
            span.__exit__(None, None, None)
