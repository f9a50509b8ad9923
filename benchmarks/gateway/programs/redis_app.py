"""Vectors in Redis behind Flask: 16-byte digests in, an MGET, the vectors one after another out.

It runs in an environment of its own. REDIS_PORT says where Redis is. A missing vector is zeros.
"""

from __future__ import annotations

import os

import redis  # type: ignore[import-not-found]
from flask import Flask, Response, request

_DIGEST_BYTES = 16
_redis = redis.Redis(port=int(os.environ["REDIS_PORT"]))

app = Flask(__name__, static_folder=None)


@app.post("/vectors/<model>/<int:size>")
def vectors(model: str, size: int) -> Response:
    """Return the vectors, of `size` bytes, of the digests in the body."""
    body = request.get_data(cache=False)
    prefix = model.encode() + b":"
    keys = [prefix + body[at : at + _DIGEST_BYTES] for at in range(0, len(body), _DIGEST_BYTES)]
    missing = bytes(size)
    found = [missing if one is None else one for one in _redis.mget(keys)]
    return Response(b"".join(found), mimetype="application/octet-stream")


@app.get("/ready")
def ready() -> str:
    """Tell that it serves, and Redis too."""
    _redis.ping()
    return "yes"
