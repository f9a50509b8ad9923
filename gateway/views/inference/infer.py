"""POST /v2/models/{model}[/versions/{version}]/infer: a lookup in tensors.

Who asks for STATUS by name can tell a placeholder from a vector, and is answered at once. Everybody
else waits, as at Retina, and gets every vector or an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from flask import Blueprint, Response, request

from embark.archive import now_ms
from embark.codec import Failure
from embark.errors import BadRequest, EmbArkError
from embark.models import Catalogue, Model
from embark.queue.base import Lane
from embark.settings import GatewaySettings
from gateway.access.hooks import patience_ms, permitted, remaining_s
from gateway.body import choice, read_bytes, whole_number
from gateway.items import Item, ItemParser, Parsed, each
from gateway.lookup import Lookups, Result
from gateway.vectors import matrix, require_vectors
from gateway.views.inference.statistics import Taken, count_answer, count_failure
from gateway.views.inference.tensors import (
    CONTENT_TENSOR,
    EMBEDDING,
    IMAGE_URL,
    KEY,
    NUMPY_TYPE,
    OUTPUTS,
    STATUS,
    Output,
)
from gateway.views.inference.versions import find_version
from gateway.views.inference.wire import (
    HEADER_LENGTH,
    InferRequest,
    read_request,
    write_answer,
)

_HIGHEST_PRIORITY = 1
_MOST = 2**63 - 1

Answer = Result | BadRequest


class _Policy:
    """What a request's parameters say.

    Attributes:
        tells: whether each item's status is told, rather than an error for all.
        on_miss: one of `gateway.lookup.ON_MISS`.
        wait_ms: longest wait.
        lane: where what is missing is queued.
        datatype: of EMBEDDING.
    """

    def __init__(self, asked: InferRequest, most_ms: int) -> None:
        given = asked.parameters
        self.tells: Final = asked.names_outputs and any(
            one.name.upper() == STATUS for one in asked.outputs
        )
        ways = ("oov", "wait", "skip") if self.tells else ("wait", "oov", "skip")
        self.on_miss: Final = choice(given, "on_miss", ways)
        timeout_us = whole_number(given, "timeout", _MOST, 0)
        patience_ms = min(timeout_us // 1000, most_ms) if timeout_us else most_ms
        self.wait_ms: Final = whole_number(given, "wait_ms", most_ms, patience_ms)
        is_bulk = whole_number(given, "priority", _MOST, 0) > _HIGHEST_PRIORITY
        self.lane: Final = Lane.BULK if is_bulk else Lane.INTERACTIVE
        self.datatype: Final = choice(given, "datatype", tuple(NUMPY_TYPE))


def routes(parser: ItemParser, lookups: Lookups, settings: GatewaySettings) -> Blueprint:
    """Return the endpoints."""
    blueprint = Blueprint("inference", __name__)

    @blueprint.post("/v2/models/<name>/infer")
    @blueprint.post("/v2/models/<name>/versions/<version>/infer")
    def infer(name: str, version: str | None = None) -> Response:
        started, asked_ms = time.perf_counter(), now_ms()
        catalogue = parser.catalogue
        model = find_version(catalogue, name, version)
        try:
            asked = read_request(read_bytes(), request.headers.get(HEADER_LENGTH), parser.max_items)
            policy = _Policy(asked, settings.max_wait_ms)
            parsed = _parse(parser, catalogue, model, asked)
            items = _served(parsed, policy)
            looked = time.perf_counter()
            on_miss, wait_ms = permitted(policy.on_miss), patience_ms(policy.wait_ms)
            results = lookups.run(items, on_miss, wait_ms, policy.lane, remaining_s())
            lookup_s = time.perf_counter() - looked
            if policy.on_miss == "wait" and not policy.tells:
                require_vectors(results, on_miss)
            response = _respond(model, asked, policy, _in_place(parsed, results))
        except EmbArkError:
            count_failure(model, time.perf_counter() - started)
            raise
        count_answer(model, results, asked_ms, Taken(time.perf_counter() - started, lookup_s))
        return response

    return blueprint


def _parse(
    parser: ItemParser, catalogue: Catalogue, model: Model, asked: InferRequest
) -> list[Parsed]:
    maker = parser.maker(catalogue, model, len(asked.elements))
    content = CONTENT_TENSOR[model.facts.modality]
    ways = {
        "TEXT": maker.utf8,
        "IMAGE": maker.image,
        IMAGE_URL: _printed(maker.image_url),
        KEY: _printed(maker.key),
    }
    name = asked.tensor or content
    if name not in ways:
        raise BadRequest(
            f"no input is named {name[:40]!r}; {model.name} takes {content} or {KEY}",
            code="unknown_input",
        )
    return each(ways[name], asked.elements)


def _printed(make: Callable[[int, str], Item]) -> Callable[[int, bytes], Item]:
    # What is not UTF-8 is neither a URL nor a key, and refused as such.
    return lambda index, value: make(index, value.decode("utf-8", "replace"))


def _served(parsed: Sequence[Parsed], policy: _Policy) -> list[Item]:
    """Return the items that can be served.

    Raises:
        BadRequest: none can; or one cannot, and there is no status to tell it by.
    """
    items = [item for item in parsed if isinstance(item, Item)]
    if len(items) == len(parsed) or (items and policy.tells):
        return items
    raise next(item for item in parsed if isinstance(item, BadRequest))


def _in_place(parsed: Sequence[Parsed], results: Sequence[Result]) -> list[Answer]:
    left = iter(results)
    return [item if isinstance(item, BadRequest) else next(left) for item in parsed]


def _respond(
    model: Model, asked: InferRequest, policy: _Policy, answers: Sequence[Answer]
) -> Response:
    outputs = [(_output(one.name, model, policy, answers), one.binary) for one in asked.outputs]
    head = {"model_name": model.name, "model_version": str(model.facts.version)}
    if asked.id is not None:
        head["id"] = asked.id
    body, header_length = write_answer(head, outputs)
    if header_length is None:
        return Response(body, mimetype="application/json")
    response = Response(body, mimetype="application/octet-stream")
    response.headers[HEADER_LENGTH] = str(header_length)
    return response


def _output(name: str, model: Model, policy: _Policy, answers: Sequence[Answer]) -> Output:
    wanted = name.upper()
    if wanted == EMBEDDING:
        rows = [one if isinstance(one, Result) else None for one in answers]
        vectors = matrix(rows, model, NUMPY_TYPE[policy.datatype])
        return Output(name, policy.datatype, vectors)
    if wanted == "QUEUED":
        queued = [[isinstance(one, Result) and one.queued] for one in answers]
        return Output(name, OUTPUTS[wanted], np.array(queued, np.bool_))
    if wanted == "GENERATION":
        return Output(name, OUTPUTS[wanted], [model.generation.encode()] * len(answers))
    told = {STATUS: _status, "REASON": _reason, KEY: _key}[wanted]
    return Output(name, OUTPUTS[wanted], [told(one).encode() for one in answers])


def _status(answer: Answer) -> str:
    return answer.status if isinstance(answer, Result) else "invalid"


def _reason(answer: Answer) -> str:
    problem = answer.record if isinstance(answer, Result) else answer
    return f"{problem.code}: {problem.message}" if isinstance(problem, Failure | BadRequest) else ""


def _key(answer: Answer) -> str:
    return str(answer.item.key) if isinstance(answer, Result) else ""
