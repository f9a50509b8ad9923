"""GET /openapi.json: what this service understands and answers, for tools."""

from __future__ import annotations

from flask import Blueprint, Response

from embark.settings import Settings
from gateway.openapi import document
from gateway.responses import json_response


def routes(settings: Settings) -> Blueprint:
    """Return the endpoint."""
    blueprint = Blueprint("openapi", __name__)
    described = document(settings)

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        return json_response(described)

    return blueprint
