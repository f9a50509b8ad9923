"""POST /v1/lookup: vectors of a batch of inputs, at once."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flask import Blueprint, Response

from embark.archive import now_ms
from embark.codec import Embedding, Failure
from embark.errors import BadRequest
from embark.models import Vector
from embark.settings import GatewaySettings
from gateway.access.hooks import patience_ms, permitted, remaining_s
from gateway.batches import Batches
from gateway.body import choice, flag, read_body, wait_limit_ms
from gateway.errors import describe
from gateway.items import Item, ItemParser, Parsed
from gateway.lookup import ON_MISS, Lookups, Result
from gateway.responses import json_response
from gateway.views import binary

_FIELDS = frozenset(("model", "items", "on_miss", "wait_ms", "encoding", "partial"))
_ENCODINGS = ("float", "base64")


def routes(
    parser: ItemParser, lookups: Lookups, batches: Batches, settings: GatewaySettings
) -> Blueprint:
    """Return the endpoint."""
    blueprint = Blueprint("lookup", __name__)

    @blueprint.post("/v1/lookup")
    def lookup() -> Response:
        if binary.has_keys():
            return binary.look_up_keys(parser, batches, settings)
        body = read_body(_FIELDS)
        on_miss = choice(body, "on_miss", ON_MISS)
        encoding = choice(body, "encoding", _ENCODINGS)
        wait_ms = wait_limit_ms(body, settings)
        parsed = parser.parse(body)
        items = served_items(parsed, body)
        # It may take a thousand times what was sent, and there may be a long wait.
        del body
        if binary.wants_vectors():
            return binary.look_up_items(batches, parsed, on_miss, wait_ms)
        found = lookups.run(items, permitted(on_miss), patience_ms(wait_ms), within_s=remaining_s())
        results = {result.item.index: result for result in found}
        now = now_ms()
        return json_response(
            {
                "items": [
                    invalid(index, item)
                    if isinstance(item, BadRequest)
                    else _answer(results[index], encoding, now)
                    for index, item in enumerate(parsed)
                ]
            }
        )

    return blueprint


def served_items(parsed: Sequence[Parsed], body: Mapping[str, Any]) -> list[Item]:
    """Return the items that can be served.

    Raises:
        BadRequest: none can, and the request does not say `"partial": true`; the first's error.
    """
    partial = flag(body, "partial")
    served = [item for item in parsed if isinstance(item, Item)]
    if not served and not partial:
        raise next(item for item in parsed if isinstance(item, BadRequest))
    return served


def invalid(index: int, error: BadRequest) -> dict[str, Any]:
    """Return the answer for an item that cannot be served."""
    described = describe(error)
    described.pop("index", None)
    return {"index": index, "status": "invalid", "error": described}


def _answer(result: Result, encoding: str, now: int) -> dict[str, Any]:
    item, record = result.item, result.record
    answer: dict[str, Any] = {
        "index": item.index,
        "status": result.status,
        "model": item.model.name,
        "key": str(item.key),
        "generation": item.model.generation,
    }
    if isinstance(record, Embedding):
        answer["age_ms"] = max(0, now - record.written_ms)
        answer["embedding"] = _encoded(record.vector, encoding)
        return answer
    if isinstance(record, Failure):
        answer["age_ms"] = max(0, now - record.written_ms)
        answer["reason"] = {"code": record.code, "message": record.message}
    else:
        answer["queued"] = result.queued
    answer["embedding"] = _encoded(item.model.oov, encoding)
    return answer


def _encoded(vector: Vector, encoding: str) -> object:
    # As float32: the shortest decimal of a float16 would read back as another float32.
    wide = np.asarray(vector, "<f4")
    return wide if encoding == "float" else base64.b64encode(wide.tobytes()).decode("ascii")
