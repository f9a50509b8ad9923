"""GET /v2/health/live and /v2/health/ready, with a state for each dependency."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from flask import Blueprint, Response

from embark.errors import Unavailable
from embark.queue.base import Queue
from embark.store.base import Store
from gateway.responses import json_response

_KEPT_SECONDS = 0.5

_Health = dict[str, Any]


def routes(store: Store, queue: Queue) -> Blueprint:
    """Return the endpoints."""
    blueprint = Blueprint("health", __name__)
    looked = _Looked(lambda: _look(store, queue))

    @blueprint.get("/v2/health/live")
    def live() -> Response:
        return json_response({"live": True})

    @blueprint.get("/v2/health/ready")
    def ready() -> Response:
        health = looked.last()
        return json_response(health, 200 if health["ready"] else 503)

    return blueprint


class _Looked:
    """What was seen last, a moment ago at most: anybody may ask, and looking takes a while."""

    def __init__(self, look: Callable[[], _Health]) -> None:
        self._look: Final = look
        self._looking = threading.Lock()
        self._seen: tuple[float, _Health] | None = None

    def last(self) -> _Health:
        # Whoever finds another looking is content with what was seen before.
        seen = self._seen
        if self._looking.acquire(blocking=seen is None):
            try:
                seen = self._seen
                if seen is None or time.monotonic() - seen[0] > _KEPT_SECONDS:
                    health = self._look()
                    self._seen = seen = (time.monotonic(), health)
            finally:
                self._looking.release()
        assert seen is not None
        return seen[1]


def _look(store: Store, queue: Queue) -> _Health:
    archive = _state(store.check)
    waiting = _state(lambda: {"lanes": _lanes(queue)})
    # Without the queue, lookups are still served; what is missing is asked again later.
    is_ready = archive["state"] == "up"
    return {"ready": is_ready, "dependencies": {"archive": archive, "queue": waiting}}


def _state(probe: Callable[[], _Health | None]) -> _Health:
    try:
        return {"state": "up", **(probe() or {})}
    except Unavailable as error:
        return {"state": "down", "detail": error.message}


def _lanes(queue: Queue) -> _Health:
    return {
        lane.value: {"depth": status.depth, "oldest_seconds": round(status.oldest_seconds, 3)}
        for lane, status in queue.status().items()
    }
