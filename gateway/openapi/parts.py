"""The words in which the document is written: JSON Schema and OpenAPI 3.1, abbreviated.

Not for what any endpoint says: that is in the module of its group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Part = dict[str, Any]
Paths = dict[str, Part]

STRING: Part = {"type": "string"}
BOOLEAN: Part = {"type": "boolean"}
NUMBER: Part = {"type": "number"}
COUNT: Part = {"type": "integer", "minimum": 0}

_ERROR_WORDS = {
    "400": "The request cannot be served as it was sent.",
    "401": "No API key, or one that is not known.",
    "403": "The API key may not do this.",
    "404": "No such model, version, generation or path.",
    "413": "The body, the batch or one item is larger than its limit.",
    "422": "An input cannot be embedded; the archive remembers why.",
    "429": "Too many requests of this API key; ask again after `Retry-After` seconds.",
    "503": "A part is unavailable, or busy; ask again after `Retry-After` seconds.",
    "504": "The request's deadline has passed.",
}
_RETRY_AFTER = {
    "Retry-After": {"required": True, "schema": {"type": "string"}, "description": "Seconds."}
}


def ref(schema: str) -> Part:
    """Return a reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{schema}"}


def shape(required: Mapping[str, Part], optional: Mapping[str, Part] | None = None) -> Part:
    """Return the schema of an object that has these fields and no other."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def open_shape(required: Mapping[str, Part], optional: Mapping[str, Part] | None = None) -> Part:
    """Return the schema of an object that may have other fields too, which mean nothing."""
    return {**shape(required, optional), "additionalProperties": True}


def one_of(*values: str) -> Part:
    """Return the schema of a string that is one of these."""
    return {"type": "string", "enum": list(values)}


def whole(least: int, most: int) -> Part:
    """Return the schema of a whole number within bounds."""
    return {"type": "integer", "minimum": least, "maximum": most}


def listed(items: Part, least: int = 0, most: int | None = None) -> Part:
    """Return the schema of a list, with how many it may hold."""
    bounds = {"minItems": least} if most is None else {"minItems": least, "maxItems": most}
    return {"type": "array", "items": items, **bounds}


def optional(schema: Part) -> Part:
    """Return the schema of what may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def described(schema: Part, words: str, **more: Any) -> Part:
    """Return a schema with a description, and whatever else it is to say."""
    return {**schema, "description": words, **more}


def json_content(schema: Part) -> Part:
    """Return the content of a body in JSON."""
    return {"application/json": {"schema": schema}}


def json_body(schema: Part) -> Part:
    """Return a request's body in JSON."""
    return {"required": True, "content": json_content(schema)}


def answer(schema: Part, words: str) -> Part:
    """Return a response in JSON."""
    return {"description": words, "content": json_content(schema)}


def failures(error: str, *statuses: int) -> Part:
    """Return the responses for errors, whose body is the schema named `error`."""
    told: Part = {}
    for status in sorted(statuses):
        one = answer(ref(error), _ERROR_WORDS[str(status)])
        if status in (429, 503):
            one["headers"] = _RETRY_AFTER
        told[str(status)] = one
    return told


def query(name: str, schema: Part, words: str, required: bool = False) -> Part:
    """Return a parameter in the query string."""
    return {
        "name": name,
        "in": "query",
        "required": required,
        "schema": schema,
        "description": words,
    }


def in_path(name: str, schema: Part) -> Part:
    """Return a parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema}
