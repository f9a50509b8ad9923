"""GET /v2/health/live and /v2/health/ready, with a state for each dependency."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response

from embark.errors import Unavailable
from embark.queue.base import Queue
from embark.store.base import Store
from gateway.responses import json_response


def routes(store: Store, queue: Queue) -> Blueprint:
    """Return the endpoints."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/v2/health/live")
    def live() -> Response:
        return json_response({"live": True})

    @blueprint.get("/v2/health/ready")
    def ready() -> Response:
        archive = _state(store.check)
        waiting = _state(lambda: {"lanes": _lanes(queue)})
        # Without the queue, lookups are still served; what is missing is asked again later.
        is_ready = archive["state"] == "up"
        body = {"ready": is_ready, "dependencies": {"archive": archive, "queue": waiting}}
        return json_response(body, 200 if is_ready else 503)

    return blueprint


def _state(probe: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    try:
        return {"state": "up", **(probe() or {})}
    except Unavailable as error:
        return {"state": "down", "detail": error.message}


def _lanes(queue: Queue) -> dict[str, Any]:
    return {
        lane.value: {"depth": status.depth, "oldest_seconds": round(status.oldest_seconds, 3)}
        for lane, status in queue.status().items()
    }
