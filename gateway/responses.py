"""JSON responses, NumPy vectors included."""

from __future__ import annotations

import orjson
from flask import Response


def json_response(body: object, status: int = 200) -> Response:
    """Return `body` as a response; float32 arrays become lists that read back exactly."""
    encoded = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(encoded, status, mimetype="application/json")
