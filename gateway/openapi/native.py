"""Our own protocol: lookup, prefetch, neighbours."""

from __future__ import annotations

from embark.binary import HEADER, KEYS_TYPE, NUMPY_TYPE, VECTORS_TYPE
from embark.settings import GatewaySettings
from gateway.lookup import ON_MISS
from gateway.openapi.parts import (
    BOOLEAN,
    COUNT,
    STRING,
    Part,
    Paths,
    answer,
    described,
    failures,
    json_body,
    json_content,
    listed,
    one_of,
    optional,
    query,
    ref,
    shape,
    whole,
)

_FAILURES = failures("Error", 404, 413)
_MINIMUM = {"type": "number", "minimum": -1, "maximum": 1}


def paths(settings: GatewaySettings) -> Paths:
    """Return the paths of this group."""
    return {
        "/v1/lookup": {"post": _lookup(settings)},
        "/v1/prefetch": {"post": _prefetch(settings)},
        "/v1/neighbours": {"get": _neighbours_of_one(settings), "post": _neighbours(settings)},
    }


def batch(most: int) -> tuple[Part, Part]:
    """Return the fields of a request that carries items: those it needs, and the others."""
    return (
        {"items": listed(ref("Item"), 1, most)},
        {
            "model": described(optional(ref("Model")), "Of the items that name none."),
            "partial": described(BOOLEAN, "Answer even if no item can be served."),
        },
    )


def waiting(settings: GatewaySettings) -> Part:
    """Return the fields that say what becomes of a miss."""
    return {
        "on_miss": described(one_of(*ON_MISS), "`oov` if left out."),
        "wait_ms": described(whole(0, settings.max_wait_ms), "For `wait`."),
    }


def _waiting_in_query(settings: GatewaySettings) -> list[Part]:
    return [query(name, schema, "As in the body.") for name, schema in waiting(settings).items()]


def _lookup(settings: GatewaySettings) -> Part:
    needed, others = batch(settings.max_items)
    body = shape(needed, {**others, **waiting(settings), "encoding": one_of("float", "base64")})
    found = answer(shape({"items": listed(ref("Result"))}), "Each vector, or why not.")
    found["content"][VECTORS_TYPE] = {}
    found["headers"] = {HEADER: {"schema": STRING, "description": "Of an answer in binary."}}
    return {
        "operationId": "lookup",
        "summary": "Vectors of inputs, at once",
        "description": "In JSON or, to who accepts it or sends keys, in binary. The parameters are"
        " for keys in binary, `dtype` for every answer in binary.",
        "parameters": [
            query("model", ref("Model"), "Whose keys they are."),
            query("generation", STRING, "The live one, if left out."),
            query("dtype", one_of(*NUMPY_TYPE), "As it is stored, if left out."),
            *_waiting_in_query(settings),
        ],
        "requestBody": {
            "required": True,
            "description": "Items in JSON; or keys in binary, 16 bytes each.",
            "content": {**json_content(body), KEYS_TYPE: {}},
        },
        "responses": {"200": found, **_FAILURES},
    }


def _prefetch(settings: GatewaySettings) -> Part:
    return {
        "operationId": "prefetch",
        "summary": "Queue inputs that nobody waits for",
        "requestBody": json_body(shape(*batch(settings.max_items))),
        "responses": {
            "202": answer(
                shape({"accepted": COUNT, "items": listed(ref("Accepted"))}),
                "The requests are durable in the queue.",
            ),
            **_FAILURES,
        },
    }


def _neighbours(settings: GatewaySettings) -> Part:
    near = settings.neighbours
    needed, others = batch(near.max_items)
    asked = {
        **others,
        **waiting(settings),
        "k": described(whole(1, near.max_k), "How many of each item."),
        "minimum": described(_MINIMUM, "Cosine below which an item is not near."),
        "exact": described(BOOLEAN, "Compare with every vector; slow."),
        "generation": described(optional(STRING), "The live one, if left out."),
    }
    return {
        "operationId": "neighbours",
        "summary": "The nearest archived items of some items",
        "requestBody": json_body(shape(needed, asked)),
        "responses": {
            "200": answer(shape({"items": listed(ref("Nearest"))}), "The nearest first."),
            **_FAILURES,
        },
    }


def _neighbours_of_one(settings: GatewaySettings) -> Part:
    near = settings.neighbours
    return {
        "operationId": "neighbours_of_one",
        "summary": "The nearest archived items of one item",
        "parameters": [
            query("model", ref("Model"), "Needed, except with `key`."),
            query("text", STRING, "The item: exactly one of text, key, image_url."),
            query("key", ref("Key"), "The item."),
            query("image_url", STRING, "The item."),
            query("k", whole(1, near.max_k), "How many."),
            query("minimum", _MINIMUM, "Cosine below which an item is not near."),
            query("exact", BOOLEAN, "Compare with every vector; slow."),
            query("generation", STRING, "The live one, if left out."),
            *_waiting_in_query(settings),
        ],
        "responses": {
            "200": answer(shape({"items": listed(ref("Nearest"), 1, 1)}), "The nearest first."),
            **_FAILURES,
        },
    }
