"""GET and POST /v1/neighbours: the nearest archived items of some items, by cosine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from flask import Blueprint, Response, request

from embark.codec import Failure
from embark.errors import BadRequest, PayloadTooLarge
from embark.settings import GatewaySettings
from gateway.access.hooks import patience_ms, permitted, remaining_s
from gateway.body import choice, flag, read_body, refuse_unknown, wait_limit_ms
from gateway.items import ItemParser
from gateway.lookup import ON_MISS, Result
from gateway.neighbours import NearItems, Neighbour, Question, content_of
from gateway.responses import json_response
from gateway.views.lookup import invalid, served_items

_FIELDS = frozenset(
    ("model", "items", "k", "minimum", "exact", "generation", "on_miss", "wait_ms", "partial")
)
_CONTENTS: Final = ("text", "key", "image_url")
_PARAMETERS = frozenset((*_FIELDS - {"items", "partial"}, *_CONTENTS))
_DEFAULT_K = 10


def _refuse_other_encodings(query: bytes) -> None:
    # Werkzeug would take the escape of a byte that is not UTF-8 for the letters of the escape.
    try:
        unquote_to_bytes(query).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("the query is not UTF-8", code="invalid_text") from None


def routes(parser: ItemParser, near: NearItems, settings: GatewaySettings) -> Blueprint:
    """Return the endpoints."""
    blueprint = Blueprint("neighbours", __name__)

    @blueprint.post("/v1/neighbours")
    def post() -> Response:
        return answer(read_body(_FIELDS))

    @blueprint.get("/v1/neighbours")
    def get() -> Response:
        _refuse_other_encodings(request.query_string)
        return answer(_from_parameters(request.args.to_dict(flat=False)))

    def answer(body: Mapping[str, Any]) -> Response:
        asked = _question(body, settings)
        _limit_items(body.get("items"), settings.neighbours.max_items)
        catalogue, parsed = parser.catalogue, parser.parse(body)
        items = served_items(parsed, body)
        del body
        found = {one[0].item.index: one for one in near.run(catalogue, items, asked)}
        return json_response(
            {
                "items": [
                    invalid(index, item) if isinstance(item, BadRequest) else _answer(*found[index])
                    for index, item in enumerate(parsed)
                ]
            }
        )

    return blueprint


def _answer(result: Result, neighbours: list[Neighbour]) -> dict[str, Any]:
    item, record = result.item, result.record
    answer: dict[str, Any] = {
        "index": item.index,
        "status": result.status,
        "model": item.model.name,
        "key": str(item.key),
        "generation": item.model.generation,
    }
    if isinstance(record, Failure):
        answer["reason"] = {"code": record.code, "message": record.message}
    elif record is None:
        answer["queued"] = result.queued
    else:
        answer["neighbours"] = [
            {"key": str(one.key), "cosine": round(one.cosine, 6), **content_of(one)}
            for one in neighbours
        ]
    return answer


def _question(body: Mapping[str, Any], settings: GatewaySettings) -> Question:
    k = body.get("k", min(_DEFAULT_K, settings.neighbours.max_k))
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= settings.neighbours.max_k:
        raise BadRequest(
            f"k must be an integer from 1 to {settings.neighbours.max_k}", code="invalid_k"
        )
    minimum = body.get("minimum", -1)
    if not isinstance(minimum, int | float) or isinstance(minimum, bool) or not -1 <= minimum <= 1:
        raise BadRequest("minimum must be a number from -1 to 1", code="invalid_minimum")
    exact = flag(body, "exact")
    generation = body.get("generation")
    if generation is not None and not isinstance(generation, str):
        raise BadRequest("generation must be a string", code="invalid_generation")
    return Question(
        k=k,
        # Cosines are answered with six digits; one that reads as the minimum is near enough.
        minimum=minimum - 5e-7 if minimum > -1 else -math.inf,
        exact=exact,
        generation=generation,
        on_miss=permitted(choice(body, "on_miss", ON_MISS)),
        wait_ms=patience_ms(wait_limit_ms(body, settings)),
        within_s=remaining_s(),
    )


def _limit_items(items: object, most: int) -> None:
    if isinstance(items, list) and len(items) > most:
        raise PayloadTooLarge(
            f"the request has {len(items)} items; the limit for neighbours is {most}",
            code="too_many_items",
            index=most,
        )


def _from_parameters(sent_values: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the body that a query string stands for.

    Raises:
        BadRequest: a parameter is unknown, repeated or not of its type, or there is not one input.
    """
    refuse_unknown(sent_values, _PARAMETERS, "the query")
    for name, values in sent_values.items():
        if len(values) > 1:
            raise BadRequest(
                f"the query has {name} {len(values)} times; POST takes several items",
                code=f"invalid_{name}",
            )
    parameters = {name: values[0] for name, values in sent_values.items()}
    sent = [name for name in _CONTENTS if name in parameters]
    if len(sent) != 1:
        raise BadRequest(
            f"the query has exactly one of {', '.join(_CONTENTS)}; this one has"
            f" {', '.join(sent) or 'none'}",
            code="invalid_item",
        )
    body: dict[str, Any] = {"items": [{sent[0]: parameters[sent[0]]}]}
    for name in parameters.keys() - set(_CONTENTS):
        body[name] = _parsed(name, parameters[name])
    return body


def _parsed(name: str, value: str) -> object:
    try:
        if name in ("k", "wait_ms"):
            return int(value)
        if name == "minimum":
            return float(value)
    except ValueError:
        raise BadRequest(
            f"{name} must be a number, not {value!r:.40}", code=f"invalid_{name}"
        ) from None
    if name == "exact":
        return {"true": True, "false": False}.get(value.lower(), value)
    return value
