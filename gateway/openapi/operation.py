"""Whatever runs the platform: health, metrics, this document, the page, and /v1/admin."""

from __future__ import annotations

from gateway.openapi.parts import (
    BOOLEAN,
    COUNT,
    NUMBER,
    STRING,
    Part,
    Paths,
    answer,
    failures,
    in_path,
    json_body,
    listed,
    one_of,
    query,
    ref,
    shape,
    whole,
)

_MOST_LETTERS = 1000
_PAGE_TYPES = ("text/css", "text/html", "text/javascript", "image/svg+xml")
_IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def paths() -> Paths:
    """Return the paths of this group."""
    return {
        "/": {"get": _files("page", "The page for people", ("text/html",))},
        "/page/{name}": {
            "get": {
                **_files("page_file", "A file of the page", _PAGE_TYPES, 404),
                "parameters": [in_path("name", STRING)],
            }
        },
        "/openapi.json": {"get": _get("openapi", "This document", {"type": "object"})},
        "/metrics": {"get": _files("metrics", "Metrics, for Prometheus", ("text/plain",))},
        "/v2/health/live": {
            "get": _get("live", "Whether the process runs", shape({"live": BOOLEAN}))
        },
        "/v2/health/ready": {"get": _ready()},
        "/v1/admin/invalidate": {"post": _invalidate()},
        "/v1/admin/dead-letters": {"get": _dead_letters()},
        "/v1/admin/dead-letters/replay": {"post": _change_letters("replay", "replayed")},
        "/v1/admin/dead-letters/purge": {"post": _change_letters("purge", "purged")},
        "/v1/admin/coverage": {"get": _coverage()},
        "/v1/admin/images/{printed}": {
            "get": {
                **_files("image", "The file of an image that was sent", _IMAGE_TYPES, 404),
                "parameters": [in_path("printed", ref("Key"))],
            }
        },
    }


def _get(name: str, summary: str, schema: Part) -> Part:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": answer(schema, summary)},
    }


def _files(name: str, summary: str, types: tuple[str, ...], *statuses: int) -> Part:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": {one: {} for one in types}},
            **failures("Error", *statuses),
        },
    }


def _ready() -> Part:
    lane = shape({"depth": COUNT, "oldest_seconds": NUMBER})
    state = {"state": one_of("up", "down")}
    ready = shape(
        {
            "ready": BOOLEAN,
            "dependencies": shape(
                {
                    "archive": shape(state, {"detail": STRING}),
                    "queue": shape(
                        state,
                        {"detail": STRING, "lanes": shape({"interactive": lane, "bulk": lane})},
                    ),
                }
            ),
        }
    )
    operation = _get("ready", "Whether the archive answers, and how the parts are", ready)
    told = {"anyOf": [ready, ref("InferenceError")]}
    operation["responses"]["503"] = answer(told, "The archive does not answer, or see above.")
    return operation


def _invalidate() -> Part:
    model = {"model": ref("Model")}
    named = {**model, "generation": ref("Generation")}
    items = shape({"items": listed(ref("Item"), 1)}, {**model, "partial": BOOLEAN})
    of_items = shape({"invalidated": COUNT, "items": listed(ref("Forgotten"))})
    of_generation = shape({**named, "invalidated": COUNT, "queued": COUNT})
    return {
        "operationId": "invalidate",
        "summary": "Forget vectors of inputs or of a generation, and have them computed again",
        "requestBody": json_body({"anyOf": [items, shape(named)]}),
        "responses": {
            "202": answer(
                {"anyOf": [of_items, of_generation]},
                "Forgotten, and queued where the input is known.",
            ),
            **failures("Error", 404, 413),
        },
    }


def _dead_letters() -> Part:
    letter = shape(
        {
            "name": STRING,
            "key": STRING,
            "lane": one_of("interactive", "bulk"),
            "attempt": COUNT,
            "code": STRING,
            "message": STRING,
            "died_at": NUMBER,
        }
    )
    found = shape({"dead_letters": listed(letter), "more": BOOLEAN})
    operation = _get("dead_letters", "Requests that were given up", found)
    operation["parameters"] = [query("limit", whole(1, _MOST_LETTERS), "Most of them.")]
    return operation


def _change_letters(verb: str, done: str) -> Part:
    body = shape({"names": listed(STRING, 1, _MOST_LETTERS)})
    return {
        "operationId": f"{verb}_dead_letters",
        "summary": f"{verb.capitalize()} dead letters by name",
        "requestBody": json_body(body),
        "responses": {
            "200": answer(shape({done: COUNT}), "How many there were."),
            **failures("Error", 413),
        },
    }


def _coverage() -> Part:
    found = shape(
        {
            "model": ref("Model"),
            "generation": ref("Generation"),
            "live": ref("Generation"),
            **{name: COUNT for name in ("inputs", "covered", "failed")},
            **{name: NUMBER for name in ("uses", "covered_uses", "share")},
        }
    )
    operation = _get("coverage", "How much of what is asked a generation can answer", found)
    operation["parameters"] = [
        query("model", ref("Model"), "Whose generation.", required=True),
        query("generation", STRING, "The live one, if left out."),
    ]
    operation["responses"] |= failures("Error", 404)
    return operation
