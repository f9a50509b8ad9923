"""The endpoints below /v1/admin: for whoever runs the platform, with the scope `admin` only.

Not for anything that a client of the service needs.
"""

from __future__ import annotations

from flask import Blueprint

from embark.backends import Backends
from embark.invalidation import Invalidation
from embark.sources import Sources
from gateway.items import ItemParser
from gateway.views.admin import coverage, dead_letters, images, invalidate


def routes(parser: ItemParser, backends: Backends) -> Blueprint:
    """Return the endpoints."""
    blueprint = Blueprint("admin", __name__, url_prefix="/v1/admin")
    invalidate.add(blueprint, parser, Invalidation(backends))
    dead_letters.add(blueprint, backends.queue)
    coverage.add(blueprint, parser, backends)
    images.add(blueprint, Sources(backends.ledger))
    return blueprint
