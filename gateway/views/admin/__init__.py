"""The endpoints below /v1/admin: for whoever runs the platform, with the admin token only.

Every one is on one blueprint, whose guard looks at the token first. Not for anything that a client
of the service needs.
"""

from __future__ import annotations

import hmac

from flask import Blueprint, request
from pydantic import SecretStr

from embark.backends import Backends
from embark.errors import Unauthorized
from embark.invalidation import Invalidation
from embark.sources import Sources
from gateway.items import ItemParser
from gateway.views.admin import coverage, dead_letters, images, invalidate

_SCHEME = "Bearer "


def routes(parser: ItemParser, backends: Backends, token: SecretStr) -> Blueprint:
    """Return the endpoints; without a token they answer 401, `admin_off`, whoever asks."""
    blueprint = Blueprint("admin", __name__, url_prefix="/v1/admin")

    @blueprint.before_request
    def authorise() -> None:
        _authorise(token.get_secret_value())

    invalidate.add(blueprint, parser, Invalidation(backends))
    dead_letters.add(blueprint, backends.queue)
    coverage.add(blueprint, parser, backends)
    images.add(blueprint, Sources(backends.ledger))
    return blueprint


def _authorise(expected: str) -> None:
    if not expected:
        raise Unauthorized("the admin endpoints are off; set gateway.admin_token", code="admin_off")
    given = request.headers.get("Authorization", "")
    if not given.startswith(_SCHEME) or not hmac.compare_digest(
        given.removeprefix(_SCHEME).encode("utf-8", "replace"), expected.encode()
    ):
        raise Unauthorized("this needs the header Authorization: Bearer, with the admin token")
