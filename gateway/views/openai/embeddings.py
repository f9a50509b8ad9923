"""POST /v1/embeddings: OpenAI's request and answer.

That API has no word for a placeholder, so a request waits, and what is not there in time is a 503.
Who asks for `on_miss` `oov` or `skip` gets placeholders, each marked by its `status`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from flask import Blueprint, Response

from embark.errors import BadRequest
from embark.models import Model
from embark.settings import GatewaySettings
from gateway.access.hooks import patience_ms, permitted, remaining_s
from gateway.body import choice, read_object, whole_number
from gateway.items import ItemParser, find_model
from gateway.lookup import Lookups, Result
from gateway.responses import json_response
from gateway.vectors import Matrix, matrix, require_vectors
from gateway.views.openai.inputs import estimate_tokens, read_inputs

_ENCODINGS = ("float", "base64")
_ON_MISS = ("wait", "oov", "skip")


def routes(parser: ItemParser, lookups: Lookups, settings: GatewaySettings) -> Blueprint:
    """Return the endpoint."""
    blueprint = Blueprint("openai", __name__)

    @blueprint.post("/v1/embeddings")
    def embeddings() -> Response:
        # Clients send null for what they do not set, and fields that only other servers know.
        body = {name: value for name, value in read_object().items() if value is not None}
        on_miss = choice(body, "on_miss", _ON_MISS)
        encoding = choice(body, "encoding_format", _ENCODINGS)
        most_ms = settings.max_wait_ms
        wait_ms = whole_number(body, "wait_ms", most_ms, most_ms)
        catalogue = parser.catalogue
        model = _model(body, find_model(catalogue, _required(body, "model")))
        items = read_inputs(parser, catalogue, model, _required(body, "input"))
        # It may take a thousand times what was sent, and there may be a long wait.
        del body
        allowed = permitted(on_miss)
        results = lookups.run(items, allowed, patience_ms(wait_ms), within_s=remaining_s())
        if on_miss == "wait":
            require_vectors(results, allowed)
        tokens = estimate_tokens(items)
        return json_response(
            {
                "object": "list",
                "data": _data(results, matrix(results, model, "<f4"), encoding, on_miss != "wait"),
                "model": model.name,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    return blueprint


def _required(body: dict[str, Any], field: str) -> object:
    if field not in body:
        raise BadRequest(f"the request needs {field}", code=f"invalid_{field}")
    return body[field]


def _model(body: dict[str, Any], model: Model) -> Model:
    """Return the model, if it can do what the request asks of it."""
    dimension, modality = model.facts.dimension, model.facts.modality.value
    asked = body.get("dimensions", dimension)
    if isinstance(asked, bool) or asked != dimension:
        raise BadRequest(
            f"{model.name} has vectors of {dimension} dimensions, which cannot be shortened;"
            " leave dimensions out",
            code="invalid_dimensions",
        )
    if body.get("modality", modality) != modality:
        raise BadRequest(
            f"{model.name} embeds {modality}; leave modality out or say {modality}",
            code="invalid_modality",
        )
    if not isinstance(body.get("user", ""), str):
        raise BadRequest("user must be a string", code="invalid_user")
    return model


def _data(
    results: Sequence[Result], vectors: Matrix, encoding: str, with_status: bool
) -> list[dict[str, Any]]:
    data = []
    for result, vector in zip(results, vectors, strict=True):
        one: dict[str, Any] = {
            "object": "embedding",
            "index": result.item.index,
            "embedding": vector if encoding == "float" else _base64(vector),
        }
        if with_status:
            one["status"] = result.status
        data.append(one)
    return data


def _base64(vector: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(vector.data).decode("ascii")
