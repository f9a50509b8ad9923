"""GET /v1/models: the models, their generations, and what a client must know of each.

In OpenAI's form too: `data` names them for its clients, `models` describes them for ours.
"""

from __future__ import annotations

import numpy as np
from flask import Blueprint, Response

from embark.following import Following
from embark.models import Catalogue, Model
from gateway.responses import json_response


def routes(following: Following) -> Blueprint:
    """Return the endpoints."""
    blueprint = Blueprint("models", __name__)

    @blueprint.get("/v1/models")
    def models() -> Response:
        catalogue = following.current
        body = {
            "object": "list",
            "data": [_named(name) for name in catalogue],
            "models": [_describe(catalogue, one) for one in catalogue.values()],
        }
        return json_response(body)

    @blueprint.get("/v1/models/<name>")
    def model(name: str) -> Response:
        catalogue = following.current
        return json_response({**_describe(catalogue, catalogue[name]), **_named(name)})

    return blueprint


def _named(name: str) -> dict[str, object]:
    # OpenAI's clients want a time of creation; none is recorded.
    return {"id": name, "object": "model", "created": 0, "owned_by": "embark"}


def _describe(catalogue: Catalogue, live: Model) -> dict[str, object]:
    return {
        **live.facts.model_dump(mode="json", exclude={"recipe"}),
        "oov": {"norm": float(np.linalg.norm(live.oov.astype(np.float32)))},
        "generations": [
            {
                "generation": model.generation,
                "version": model.facts.version,
                "live": model.generation == live.generation,
            }
            for model in catalogue.generations(live.name)
        ],
    }
