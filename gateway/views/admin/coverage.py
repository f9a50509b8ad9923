"""GET /v1/admin/coverage: how much of what is asked one generation can answer.

Reads the records of every known input, so one runs at a time in a process, and not for long; the
command `embark models coverage` has no limit.
"""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, Response, request

from embark.backends import Backends
from embark.coverage import coverage
from embark.errors import BadRequest, Unavailable
from embark.models import Catalogue, Model
from gateway.body import refuse_unknown
from gateway.items import ItemParser
from gateway.responses import json_response
from gateway.views.admin.long_work import MOST_SECONDS, LongWork


def add(
    blueprint: Blueprint,
    parser: ItemParser,
    backends: Backends,
    most_seconds: float = MOST_SECONDS,
) -> None:
    """Add the endpoint.

    Args:
        blueprint: where it is added.
        parser: knows the models.
        backends: what is read.
        most_seconds: after how long it gives up; a slow archive's last answer may come on top.
    """
    long_work = LongWork("coverage", most_seconds)

    @blueprint.get("/coverage")
    def generation_coverage() -> Response:
        live, model = _generations(parser.catalogue)
        with long_work.begun(_too_slow) as check:
            found = coverage(backends, live, model, check, lists_unknown=False)
        named = {"model": model.name, "generation": model.generation, "live": live.generation}
        return json_response({**named, **asdict(found), "share": found.share})


def _too_slow(seen: int, seconds: float) -> Unavailable:
    return Unavailable(
        f"{seen} inputs were looked at in {seconds:g} s, and there are more;"
        " `embark models coverage` has no limit",
        code="coverage_too_slow",
    )


def _generations(catalogue: Catalogue) -> tuple[Model, Model]:
    refuse_unknown(request.args, frozenset(("model", "generation")), "the query")
    name = request.args.get("model")
    if name is None:
        raise BadRequest("the query names no model", code="model_missing")
    live = catalogue[name]
    return live, catalogue.generation(name, request.args.get("generation", live.generation))
