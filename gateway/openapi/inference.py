"""The Open Inference Protocol: metadata, readiness, infer, statistics."""

from __future__ import annotations

from typing import Any

from embark.settings import GatewaySettings
from gateway.openapi.parts import (
    BOOLEAN,
    COUNT,
    STRING,
    Part,
    Paths,
    answer,
    described,
    failures,
    in_path,
    json_content,
    listed,
    one_of,
    open_shape,
    optional,
    ref,
    shape,
    whole,
)
from gateway.views.inference.tensors import NUMPY_TYPE
from gateway.views.inference.wire import HEADER_LENGTH

_NAME = in_path("name", ref("Model"))
_VERSION = in_path("version", {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"})
_TENSOR = shape({"name": STRING, "datatype": STRING, "shape": listed({"type": "integer"})})
_DURATION = shape({"count": COUNT, "ns": COUNT})
_STATISTICS = (
    "success",
    "fail",
    "queue",
    "compute_input",
    "compute_infer",
    "compute_output",
    "cache_hit",
    "cache_miss",
)
_HEADER = {
    "schema": {"type": "string", "pattern": "^[0-9]{1,19}$"},
    "description": "Bytes of the body that are JSON; tensors in binary follow.",
}


def paths(settings: GatewaySettings) -> Paths:
    """Return the paths of this group."""
    server = shape({"name": STRING, "version": STRING, "extensions": listed(STRING)})
    return {
        "/v2": {"get": _get("server_metadata", "The server", server)},
        "/v2/models/stats": {"get": _get("statistics", "Statistics of all models", _statistics())},
        "/v2/repository/index": {"post": _index()},
        **_of_a_model("", "get", "model_metadata", "A model", _metadata()),
        **_of_a_model(
            "/ready",
            "get",
            "model_ready",
            "Whether a model is served",
            shape({"name": ref("Model"), "ready": BOOLEAN}),
        ),
        **_of_a_model("/config", "get", "model_config", "A model, in Triton's words", _config()),
        **_of_a_model("/stats", "get", "model_statistics", "Statistics of a model", _statistics()),
        **_infer(settings),
    }


def _get(name: str, summary: str, schema: Part) -> Part:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": answer(schema, summary)},
    }


def _of_a_model(tail: str, method: str, name: str, summary: str, schema: Part) -> Paths:
    """Return a path of a model's live generation, and that of any of its versions."""
    paths: Paths = {}
    for middle, parameters, suffix in (
        ("", [_NAME], ""),
        ("/versions/{version}", [_NAME, _VERSION], "_of_version"),
    ):
        operation = _get(name + suffix, summary, schema)
        operation["responses"] |= failures("InferenceError", 404)
        operation["parameters"] = parameters
        paths[f"/v2/models/{{name}}{middle}{tail}"] = {method: operation}
    return paths


def _index() -> Part:
    one = shape({"name": ref("Model"), "version": STRING, "state": STRING, "reason": STRING})
    return _get("repository_index", "Every served version of every model", listed(one))


def _metadata() -> Part:
    return shape(
        {
            "name": ref("Model"),
            "versions": listed(STRING, 1),
            "platform": STRING,
            "inputs": listed(_TENSOR, 1),
            "outputs": listed(_TENSOR, 1),
        }
    )


def _config() -> Part:
    tensor = shape({"name": STRING, "data_type": STRING, "dims": listed(COUNT)})
    return shape(
        {
            "name": ref("Model"),
            "platform": STRING,
            "backend": STRING,
            "version_policy": {"type": "object"},
            "max_batch_size": COUNT,
            "input": listed(tensor, 1),
            "output": listed(tensor, 1),
            "response_cache": shape({"enable": BOOLEAN}),
        }
    )


def _statistics() -> Part:
    one = shape(
        {
            "name": ref("Model"),
            "version": STRING,
            "last_inference": COUNT,
            "inference_count": COUNT,
            "execution_count": COUNT,
            "inference_stats": shape({name: _DURATION for name in _STATISTICS}),
            "batch_stats": {"type": "array"},
        }
    )
    return shape({"model_stats": listed(one, 1)})


def _infer(settings: GatewaySettings) -> Paths:
    found = shape(
        {
            "model_name": ref("Model"),
            "model_version": STRING,
            "outputs": listed(ref("OutputTensor"), 1),
        },
        {"id": STRING},
    )
    paths = _of_a_model("/infer", "post", "infer", "A lookup in tensors", found)
    for path in paths.values():
        operation: dict[str, Any] = path["post"]
        operation["parameters"] = [
            *operation["parameters"],
            {"name": HEADER_LENGTH, "in": "header", **_HEADER},
        ]
        operation["requestBody"] = {
            "description": "JSON; with the header, JSON and then a tensor in binary; with its value"
            " 0, one element alone.",
            "content": {**json_content(_asked(settings)), "application/octet-stream": {}},
        }
        told = operation["responses"]
        told["200"]["headers"] = {HEADER_LENGTH: _HEADER}
        told["200"]["content"]["application/octet-stream"] = {}
        told |= failures("InferenceError", 413, 422)
    return paths


def _asked(settings: GatewaySettings) -> Part:
    number = whole(0, 2**63 - 1)
    parameters = open_shape(
        {},
        {
            "on_miss": described(
                one_of("wait", "oov", "skip"),
                "If left out, `oov` where STATUS is among the outputs asked for, else `wait`.",
            ),
            "wait_ms": whole(0, settings.max_wait_ms),
            "timeout": described(number, "Microseconds; in the place of wait_ms."),
            "priority": described(number, "From 2, misses are bulk work."),
            "datatype": described(one_of(*NUMPY_TYPE), "Of EMBEDDING."),
            "binary_data_output": BOOLEAN,
        },
    )
    return open_shape(
        {"inputs": listed(ref("InputTensor"), 1, 1)},
        {
            "id": optional(STRING),
            "outputs": optional(listed(ref("AskedTensor"))),
            "parameters": optional(parameters),
        },
    )
