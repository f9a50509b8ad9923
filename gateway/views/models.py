"""GET /v1/models: the models and what a client must know of each."""

from __future__ import annotations

import numpy as np
from flask import Blueprint, Response

from embark.models import Catalogue, Model
from gateway.responses import json_response


def routes(catalogue: Catalogue) -> Blueprint:
    """Return the endpoint."""
    blueprint = Blueprint("models", __name__)

    @blueprint.get("/v1/models")
    def models() -> Response:
        return json_response({"models": [_describe(model) for model in catalogue.values()]})

    return blueprint


def _describe(model: Model) -> dict[str, object]:
    facts = model.facts.model_dump(mode="json", exclude={"recipe"})
    return {**facts, "oov": {"norm": float(np.linalg.norm(model.oov.astype(np.float32)))}}
