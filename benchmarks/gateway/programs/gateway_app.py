"""The gateway as any WSGI server may serve it, and beside it the bare route: settings as usual."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.gateway.programs import floor_app
from embark import config, log
from gateway.app import open_gateway

_settings = config.load().settings
log.configure(level="warning", form="console", process="benchmark")
gateway = open_gateway(_settings)


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer as the gateway does, but for the paths of the floor."""
    path = environ["PATH_INFO"]
    is_floor = path.startswith("/constant/") or path == "/ready"
    return (floor_app.app if is_floor else gateway.app)(environ, start_response)
