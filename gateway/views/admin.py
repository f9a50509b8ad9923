"""POST /v1/admin/invalidate: forget vectors and have them computed again. Needs the admin token."""

from __future__ import annotations

import hmac

from flask import Blueprint, Response, request
from pydantic import SecretStr

from embark.errors import BadRequest, Unauthorized
from embark.inputs import Input
from embark.invalidation import Invalidation
from gateway.body import read_body
from gateway.items import ItemParser
from gateway.responses import json_response
from gateway.views.lookup import invalid, served_items

_FIELDS = frozenset(("model", "items", "partial"))
_SCHEME = "Bearer "


def routes(parser: ItemParser, invalidation: Invalidation, token: SecretStr) -> Blueprint:
    """Return the endpoint."""
    blueprint = Blueprint("admin", __name__)

    @blueprint.post("/v1/admin/invalidate")
    def invalidate() -> Response:
        _authorise(token)
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

    return blueprint


def _authorise(token: SecretStr) -> None:
    expected = token.get_secret_value()
    if not expected:
        raise Unauthorized("the admin endpoints are off; set gateway.admin_token")
    given = request.headers.get("Authorization", "")
    if not given.startswith(_SCHEME) or not hmac.compare_digest(
        given.removeprefix(_SCHEME).encode("utf-8", "replace"), expected.encode()
    ):
        raise Unauthorized("this needs the header Authorization: Bearer, with the admin token")
