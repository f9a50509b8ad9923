"""OpenAI's protocol: embeddings, and the models in its words."""

from __future__ import annotations

from embark.settings import GatewaySettings
from gateway.openapi.parts import (
    COUNT,
    STRING,
    Part,
    Paths,
    answer,
    described,
    failures,
    in_path,
    json_body,
    listed,
    one_of,
    open_shape,
    optional,
    ref,
    shape,
    whole,
)


def paths(settings: GatewaySettings) -> Paths:
    """Return the paths of this group."""
    models = shape(
        {
            "object": one_of("list"),
            "data": listed(ref("ModelName")),
            "models": listed(ref("ModelFacts")),
        }
    )
    return {
        "/v1/embeddings": {"post": _embeddings(settings)},
        "/v1/models": {
            "get": {
                "operationId": "models",
                "summary": "The models",
                "responses": {"200": answer(models, "In OpenAI's words as `data`, and in ours.")},
            }
        },
        "/v1/models/{name}": {
            "get": {
                "operationId": "model",
                "summary": "One model",
                "parameters": [in_path("name", ref("Model"))],
                "responses": {
                    "200": answer(ref("NamedModel"), "What is known of it."),
                    **failures("OpenAIError", 404),
                },
            }
        },
    }


def _embeddings(settings: GatewaySettings) -> Part:
    text = {"type": "string", "minLength": 1}
    body = open_shape(
        {
            "model": ref("Model"),
            "input": described(
                {"anyOf": [text, listed(text, 1, settings.max_items)]},
                "Texts; or for a model of images data URIs in base64, or URLs. No token ids.",
            ),
        },
        {
            "encoding_format": optional(one_of("float", "base64")),
            "dimensions": described(
                optional({"type": "integer"}), "Only the model's own; vectors are not shortened."
            ),
            "user": described(optional(STRING), "Taken, and not used."),
            "modality": optional(one_of("text", "image")),
            "on_miss": described(
                optional(one_of("wait", "oov", "skip")),
                "`wait` if left out: every vector, or an error. With the others, vectors that are"
                " not there are the model's OOV vector, and `status` says so.",
            ),
            "wait_ms": optional(whole(0, settings.max_wait_ms)),
        },
    )
    one = shape(
        {"object": one_of("embedding"), "index": COUNT, "embedding": ref("Vector")},
        {"status": one_of("hit", "oov", "failed")},
    )
    found = shape(
        {
            "object": one_of("list"),
            "data": listed(one, 1),
            "model": ref("Model"),
            "usage": shape({"prompt_tokens": COUNT, "total_tokens": COUNT}),
        }
    )
    return {
        "operationId": "embeddings",
        "summary": "Vectors of inputs, in OpenAI's form",
        "requestBody": json_body(body),
        "responses": {
            "200": answer(found, "In the order of the input."),
            **failures("OpenAIError", 404, 413, 422),
        },
    }
