"""The least a service can do: a bare Flask route that returns as many constant bytes."""

from __future__ import annotations

from functools import cache

from flask import Flask, Response, request

app = Flask(__name__, static_folder=None)


@cache
def _bytes(count: int) -> bytes:
    return b"\x3c" * count


@app.post("/constant/<int:count>")
def constant(count: int) -> Response:
    """Read the request, and return `count` bytes."""
    request.get_data(cache=False)
    return Response(_bytes(count), mimetype="application/octet-stream")


@app.get("/ready")
def ready() -> str:
    """Tell that it serves."""
    return "yes"
