"""The HTTP of the scoring service: POST /score and GET /health."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Flask, Response, request

from embark.errors import BadRequest
from examples.ctr.serving.service import ScoringService

MOST_ITEMS = 1000
_JSON = "application/json"


def create_app(service: ScoringService) -> Flask:
    """Return the application.

    `POST /score` takes `{"user": 3, "items": [17, 4, …]}` and answers
    `{"items": [{"id", "ctr", "text", "image"}, …], "found": {model: {status: count}}, "lookup_ms",
    "head_ms"}`; `text` and `image` are statuses of a lookup, or `late`.
    """
    app = Flask("ctr-scoring", static_folder=None)

    @app.post("/score")
    def score() -> Response:
        user, items = _read(request.get_data(cache=False), len(service.inputs))
        scored = service.score(user, items)
        rows = zip(items, scored.ctr.tolist(), scored.text, scored.image, strict=True)
        return _answer(
            {
                "items": [
                    {"id": item, "ctr": ctr, "text": text, "image": image}
                    for item, ctr, text, image in rows
                ],
                "found": scored.found(service),
                "lookup_ms": round(scored.lookup_ms, 3),
                "head_ms": round(scored.head_ms, 3),
            }
        )

    @app.get("/health")
    def health() -> Response:
        return _answer({"ready": True, "items": len(service.inputs)})

    @app.errorhandler(BadRequest)
    def refuse(error: BadRequest) -> Response:
        return _answer({"error": {"code": error.code, "message": error.message}}, error.http_status)

    return app


def _read(body: bytes, known: int) -> tuple[int, list[int]]:
    try:
        asked = orjson.loads(body)
        user, items = asked["user"], asked["items"]
    except (ValueError, KeyError, TypeError):
        raise BadRequest('the body must read {"user": 1, "items": [1, 2]}') from None
    if not _is_index(user):
        raise BadRequest(f"user must be a number from 0, not {user!r}")
    if not isinstance(items, list) or not 1 <= len(items) <= MOST_ITEMS:
        raise BadRequest(f"items must be a list of 1 to {MOST_ITEMS} numbers")
    for item in items:
        if not _is_index(item) or item >= known:
            raise BadRequest(f"item {item!r} is not in the catalogue, which has 0 to {known - 1}")
    return user, items


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _answer(body: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, mimetype=_JSON)
