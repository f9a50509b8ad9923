"""The document, put together from its groups, with what the gate before every endpoint adds."""

from __future__ import annotations

import re
from typing import Final

from embark.settings import GatewaySettings, Settings
from embark.version import __version__
from gateway.access.hooks import scope_of
from gateway.error_shapes import Protocol, protocol_of
from gateway.openapi import inference, native, openai, operation
from gateway.openapi.parts import Part, failures
from gateway.openapi.schemas import schemas

_ABOUT = """Embeddings from an archive, at once: the vector of an input, or the model's
out-of-vocabulary vector and a queued request. Bodies may come with Content-Encoding gzip or
deflate. The header X-Request-Timeout-Ms says for how many milliseconds somebody waits for the
answer."""

_ERRORS: Final = {
    Protocol.OURS: "Error",
    Protocol.OPENAI: "OpenAIError",
    Protocol.INFERENCE: "InferenceError",
}
_AT_THE_GATE = (400, 401, 403, 429, 503, 504)
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def document(settings: Settings) -> Part:
    """Return the OpenAPI document of a service with these settings."""
    gateway = settings.gateway
    paths = {
        **native.paths(gateway),
        **openai.paths(gateway),
        **inference.paths(gateway),
        **operation.paths(),
    }
    for path, operations in paths.items():
        for one in operations.values():
            _guard(path, one, gateway)
    return {
        "openapi": "3.1.0",
        "info": {"title": "EmbArk", "version": __version__, "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": schemas(settings), "securitySchemes": _KEYS},
    }


def _guard(path: str, operation: Part, settings: GatewaySettings) -> None:
    """Add what the gate wants of a request, and its refusals."""
    refusals = failures(_ERRORS[protocol_of(path)], *_AT_THE_GATE)
    operation["responses"] = {**refusals, **operation["responses"]}
    rule = re.sub(r"{(\w+)}", r"<\1>", path)
    scope = scope_of(rule, open_metrics=settings.open_metrics)
    if settings.keys_file is not None and scope is not None:
        operation["security"] = [{name: [scope.value]} for name in _KEYS]
