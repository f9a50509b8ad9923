"""What travels: items, results, errors and models, as schemas that the paths refer to."""

from __future__ import annotations

from embark.settings import Settings
from gateway.openapi.parts import (
    BOOLEAN,
    COUNT,
    NUMBER,
    STRING,
    Part,
    described,
    listed,
    one_of,
    open_shape,
    optional,
    ref,
    shape,
    whole,
)
from gateway.views.inference.tensors import OUTPUTS

_INDEX = described(COUNT, "Position in the request, from 0.")
_QUEUED = described(BOOLEAN, "Whether it is known to be in the queue; if not, ask again.")
_AGE = described(COUNT, "Age of the record in milliseconds.")
_KNOWN = {"model": ref("Model"), "key": ref("Key"), "generation": ref("Generation")}


def schemas(settings: Settings) -> Part:
    """Return every schema, by name."""
    return {
        "Model": described(
            {"type": "string", "pattern": "^[a-z0-9][a-z0-9_.-]{0,63}$"},
            "Name of a model; /v1/models lists them.",
        ),
        "Generation": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        "Key": described(
            {
                "type": "string",
                "pattern": "^[a-z0-9][a-z0-9_.-]{0,63}:[0-9a-f]{16}:[0-9a-f]{32}$",
            },
            "What names an input and its vector: model:generation:digest.",
        ),
        "Item": _item(settings),
        "Vector": {
            "anyOf": [
                listed(NUMBER),
                described(STRING, "base64 of little-endian float32.", contentEncoding="base64"),
            ]
        },
        "Reason": described(
            shape({"code": STRING, "message": STRING}), "Why an input cannot be embedded."
        ),
        "Problem": shape({"code": STRING, "message": STRING}, {"index": _INDEX}),
        "Error": shape({"error": ref("Problem")}),
        "OpenAIError": shape({"error": _openai_problem()}),
        "InferenceError": shape({"error": STRING}),
        **_results(),
        **_models(),
        **_tensors(settings.gateway.max_items),
    }


def _item(settings: Settings) -> Part:
    limits = settings.inputs
    text = described(
        {"type": "string", "maxLength": limits.max_text_bytes},
        f"At most {limits.max_text_bytes} bytes of UTF-8.",
    )
    ways = {
        "text": text,
        "image": described(
            STRING,
            f"base64 of a JPEG, PNG, WebP or GIF file of at most {limits.max_image_bytes} bytes.",
            contentEncoding="base64",
        ),
        "image_url": described(
            {"type": "string", "maxLength": limits.max_url_chars, "format": "uri"},
            "http or https.",
        ),
        "key": ref("Key"),
    }
    model = {"model": ref("Model")}
    return {"anyOf": [text, *(shape({name: way}, model) for name, way in ways.items())]}


def _openai_problem() -> Part:
    return shape(
        {
            "message": STRING,
            "type": one_of("invalid_request_error", "rate_limit_error", "server_error"),
            "param": optional(STRING),
            "code": STRING,
        },
        {"index": _INDEX},
    )


def _results() -> Part:
    """Return what is said of one item: by a lookup, by neighbours, and by what only queues."""
    head = {"index": _INDEX}
    vector = {"embedding": ref("Vector")}
    invalid = shape({**head, "status": one_of("invalid"), "error": ref("Problem")})
    near = shape({"key": ref("Key"), "cosine": NUMBER}, {"text": STRING, "image_url": STRING})

    def of(status: str, **more: Part) -> Part:
        return shape({**head, "status": one_of(status), **_KNOWN, **more})

    return {
        "Result": {
            "oneOf": [
                of("hit", age_ms=_AGE, **vector),
                of("oov", queued=_QUEUED, **vector),
                of("failed", age_ms=_AGE, reason=ref("Reason"), **vector),
                invalid,
            ]
        },
        "Nearest": {
            "oneOf": [
                of("hit", neighbours=listed(near)),
                of("oov", queued=_QUEUED),
                of("failed", reason=ref("Reason")),
                invalid,
            ]
        },
        "Accepted": {"oneOf": [shape({**head, "model": ref("Model"), "key": ref("Key")}), invalid]},
        "Forgotten": {
            "oneOf": [
                shape({**head, "model": ref("Model"), "key": ref("Key"), "queued": _QUEUED}),
                invalid,
            ]
        },
    }


def _models() -> Part:
    named = {
        "id": ref("Model"),
        "object": one_of("model"),
        "created": COUNT,
        "owned_by": STRING,
    }
    facts = {
        "name": ref("Model"),
        "modality": one_of("text", "image"),
        "dimension": whole(1, 65535),
        "dtype": one_of("float16", "float32"),
        "generation": ref("Generation"),
        "version": {"type": "integer", "minimum": 1},
        "max_batch_size": {"type": "integer", "minimum": 1},
        "precision": STRING,
        "weights": STRING,
        "oov": shape({"norm": NUMBER}),
        "generations": listed(
            shape({"generation": ref("Generation"), "version": COUNT, "live": BOOLEAN})
        ),
    }
    return {
        "ModelName": shape(named),
        "ModelFacts": shape(facts),
        "NamedModel": shape({**facts, **named}),
    }


def _tensors(max_items: int) -> Part:
    """Return the tensors of the Open Inference Protocol."""
    n = whole(1, max_items)
    return {
        "Shape": described({"anyOf": [listed(n, 1, 1), _pair(n)]}, "[n] or [n, 1], of n elements."),
        "InputTensor": open_shape(
            {
                "name": described(STRING, "TEXT, IMAGE, IMAGE_URL or KEY, in any letter case."),
                "shape": ref("Shape"),
                "datatype": one_of("BYTES"),
            },
            {
                "data": listed({"anyOf": [STRING, listed(STRING)]}),
                "parameters": open_shape(
                    {}, {"binary_data_size": COUNT, "content_type": one_of("base64", "utf8")}
                ),
            },
        ),
        "AskedTensor": open_shape(
            {"name": described(STRING, f"{', '.join(OUTPUTS)}, in any letter case.")},
            {"parameters": open_shape({}, {"binary_data": BOOLEAN})},
        ),
        "OutputTensor": shape(
            {"name": STRING, "datatype": STRING, "shape": listed(COUNT, 2, 2)},
            {
                "data": {"type": "array"},
                "parameters": shape({"binary_data_size": COUNT}),
            },
        ),
    }


def _pair(first: Part) -> Part:
    return {
        "type": "array",
        "prefixItems": [first, {"const": 1}],
        "items": False,
        "minItems": 2,
    }
