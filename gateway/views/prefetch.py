"""POST /v1/prefetch: have vectors computed that nobody waits for; durable before the answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, Response

from embark.errors import BadRequest, Overloaded
from embark.queue.base import Lane, Queue, Request
from gateway.body import read_body
from gateway.items import Item, ItemParser, Parsed
from gateway.responses import json_response
from gateway.turns import aside
from gateway.views.lookup import invalid, served_items

_FIELDS = frozenset(("model", "items", "partial"))


def routes(parser: ItemParser, queue: Queue, at_once: int) -> Blueprint:
    """Return the endpoint.

    Args:
        parser: makes items.
        queue: where they are put.
        at_once: how many requests may wait for the queue; the others are answered 503.
    """
    blueprint = Blueprint("prefetch", __name__)
    waiting = threading.BoundedSemaphore(at_once)

    @contextmanager
    def turn() -> Iterator[None]:
        if not waiting.acquire(blocking=False):
            raise Overloaded("as many requests wait for the queue as may; it is slow")
        try:
            yield
        finally:
            waiting.release()

    @blueprint.post("/v1/prefetch")
    def prefetch() -> Response:
        body = read_body(_FIELDS)
        parsed = [_with_content(item) for item in parser.parse(body)]
        requests = {
            item.key: Request(item.key, item.content, Lane.BULK)
            for item in served_items(parsed, body)
            if item.content is not None
        }
        # It may take a thousand times what was sent, and there may be a long wait.
        del body
        if requests:
            with turn(), aside():
                queue.put(list(requests.values()))
        items = [_answer(index, item) for index, item in enumerate(parsed)]
        accepted = sum(isinstance(item, Item) for item in parsed)
        return json_response({"accepted": accepted, "items": items}, 202)

    return blueprint


def _with_content(item: Parsed) -> Parsed:
    if isinstance(item, Item) and item.content is None:
        return BadRequest(
            "a key alone cannot be computed; send the text, image or image_url",
            code="content_missing",
            index=item.index,
        )
    return item


def _answer(index: int, item: Parsed) -> dict[str, Any]:
    if isinstance(item, BadRequest):
        return invalid(index, item)
    return {"index": index, "model": item.model.name, "key": str(item.key)}
