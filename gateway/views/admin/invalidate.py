"""POST /v1/admin/invalidate: forget vectors and have them computed again.

Of inputs, or of a whole generation; one generation at a time in a process, and not for long: the
command `embark invalidate` has no limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from embark.errors import BadRequest, Unavailable
from embark.inputs import Input
from embark.invalidation import Invalidation
from embark.models import Catalogue, Model
from gateway.body import read_body
from gateway.items import ItemParser, find_model
from gateway.responses import json_response
from gateway.views.admin.long_work import MOST_SECONDS, LongWork
from gateway.views.lookup import invalid, served_items

_FIELDS = frozenset(("model", "items", "partial", "generation"))


def add(
    blueprint: Blueprint,
    parser: ItemParser,
    invalidation: Invalidation,
    most_seconds: float = MOST_SECONDS,
) -> None:
    """Add the endpoint.

    Args:
        blueprint: where it is added.
        parser: knows the models.
        invalidation: does it.
        most_seconds: after how long a generation's gives up.
    """
    long_work = LongWork("invalidation", most_seconds)

    @blueprint.post("/invalidate")
    def invalidate() -> Response:
        body = read_body(_FIELDS)
        if "generation" in body:
            model = _generation(parser.catalogue, body)
            with long_work.begun(_too_slow) as check:
                forgotten, known = invalidation.generation(model, lambda done, _: check(done))
            named = {"model": model.name, "generation": model.generation}
            return json_response({**named, "invalidated": forgotten, "queued": known}, 202)
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


def _generation(catalogue: Catalogue, body: Mapping[str, Any]) -> Model:
    if "items" in body or "partial" in body:
        raise BadRequest(
            "generation is all of it; send items or a generation, not both", code="invalid_items"
        )
    if "model" not in body:
        raise BadRequest("the generation of which model?", code="model_missing")
    name = find_model(catalogue, body["model"]).name
    if not isinstance(body["generation"], str):
        raise BadRequest("generation must be a string", code="invalid_generation")
    return catalogue.generation(name, body["generation"])


def _too_slow(done: int, seconds: float) -> Unavailable:
    return Unavailable(
        f"{done} vectors were forgotten in {seconds:g} s, and there may be more: ask again, or run"
        " `embark invalidate --generation`, which has no limit",
        code="invalidation_too_slow",
    )
