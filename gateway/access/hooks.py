"""The gate before every endpoint, and what views ask of the grant.

An endpoint needs the scope `read` unless it is listed here, so that a new one is not open by
oversight. The server has asked the gate already when it read the headers; where the application
runs without it, the gate is asked here.
"""

from __future__ import annotations

import time
from typing import Final

from flask import Flask, g, request

from embark.api_keys import Scope
from gateway.access.gate import Gate, Grant, require

# What the server adds to the environ.
GRANT: Final = "embark.grant"

_OPEN = frozenset(("/", "/page/<name>", "/openapi.json", "/v2/health/live", "/v2/health/ready"))
_METRICS = "/metrics"
_ENQUEUE = frozenset(("/v1/prefetch",))
_ADMIN = "/v1/admin/"


def may_be_open(path: str) -> bool:
    """Whether a path may be asked without a key; those of which it is not sure, it lets pass."""
    return path in _OPEN or path == _METRICS or path.startswith("/page/")


def install(app: Flask, gate: Gate, *, open_metrics: bool) -> None:
    """Put the gate before every endpoint of an application.

    Args:
        app: the application.
        gate: decides.
        open_metrics: whether /metrics needs no key.
    """

    @app.before_request
    def admit() -> None:
        grant = request.environ.get(GRANT)
        if grant is None:
            g.own_grant = grant = gate.admit(request.environ)
        g.grant = grant
        grant.check_deadline(time.monotonic())
        rule = request.url_rule
        scope = Scope.READ if rule is None else scope_of(rule.rule, open_metrics=open_metrics)
        if scope is not None:
            require(grant, scope)

    @app.teardown_request
    def end(_error: BaseException | None) -> None:
        grant = g.pop("own_grant", None)
        if grant is not None:
            grant.end()


def scope_of(rule: str, *, open_metrics: bool) -> Scope | None:
    """Return the scope that an endpoint needs, None if it needs no key."""
    if rule in _OPEN or (open_metrics and rule == _METRICS):
        return None
    if rule in _ENQUEUE:
        return Scope.ENQUEUE
    return Scope.ADMIN if rule.startswith(_ADMIN) else Scope.READ


def permitted(on_miss: str) -> str:
    """Return what happens to misses of the current request: a key that may not queue, skips."""
    grant: Grant = g.grant
    return on_miss if Scope.ENQUEUE in grant.scopes else "skip"


def remaining_s() -> float | None:
    """Return how long the current request still has, None for as long as it takes."""
    grant: Grant = g.grant
    return grant.remaining_s(time.monotonic())


def patience_ms(wait_ms: int) -> int:
    """Return how long the current request may wait for a model, at most until its deadline."""
    left_s = remaining_s()
    return wait_ms if left_s is None else max(0, min(wait_ms, int(left_s * 1000)))
