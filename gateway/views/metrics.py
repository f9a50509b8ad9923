"""GET /metrics: Prometheus' text format."""

from __future__ import annotations

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST

from embark.errors import QueueUnavailable
from embark.metrics import QUEUE_DEPTH, QUEUE_OLDEST, QUEUE_UP, exposition
from embark.queue.base import Queue


def routes(queue: Queue) -> Blueprint:
    """Return the endpoint."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    def metrics() -> Response:
        _observe_queue(queue)
        return Response(exposition(), content_type=CONTENT_TYPE_LATEST)

    return blueprint


def _observe_queue(queue: Queue) -> None:
    try:
        lanes = queue.status()
    except QueueUnavailable:
        QUEUE_UP.set(0)
        return
    QUEUE_UP.set(1)
    for lane, status in lanes.items():
        QUEUE_DEPTH.labels(lane=lane.value).set(status.depth)
        QUEUE_OLDEST.labels(lane=lane.value).set(status.oldest_seconds)
