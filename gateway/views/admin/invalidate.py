"""POST /v1/admin/invalidate: forget vectors and have them computed again."""

from __future__ import annotations

from flask import Blueprint, Response

from embark.errors import BadRequest
from embark.inputs import Input
from embark.invalidation import Invalidation
from gateway.body import read_body
from gateway.items import ItemParser
from gateway.responses import json_response
from gateway.views.lookup import invalid, served_items

_FIELDS = frozenset(("model", "items", "partial"))


def add(blueprint: Blueprint, parser: ItemParser, invalidation: Invalidation) -> None:
    """Add the endpoint."""

    @blueprint.post("/invalidate")
    def invalidate() -> Response:
        body = read_body(_FIELDS)
        parsed = parser.parse(body)
        by_model: dict[str, dict[bytes, Input | None]] = {}
        for item in served_items(parsed, body):
            contents = by_model.setdefault(item.model.name, {})
            contents[item.key.digest] = item.content or contents.get(item.key.digest)
        queued = {
            name: invalidation.inputs(parser.catalogue, name, contents)
            for name, contents in by_model.items()
        }
        items = [
            invalid(index, item)
            if isinstance(item, BadRequest)
            else {
                "index": index,
                "model": item.model.name,
                "key": str(item.key),
                "queued": item.key.digest in queued[item.model.name],
            }
            for index, item in enumerate(parsed)
        ]
        count = sum(len(contents) for contents in by_model.values())
        return json_response({"invalidated": count, "items": items}, 202)
