"""What the server and its models are, in the Open Inference Protocol's words.

A version is a served generation. Not for liveness and readiness of the server: `health`.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from embark.models import Model
from embark.version import __version__
from gateway.items import ItemParser
from gateway.responses import json_response
from gateway.views.inference.tensors import CONTENT_TENSOR, EMBEDDING, OUTPUTS
from gateway.views.inference.versions import find_version

_EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "parameters",
    "schedule_policy",
    "statistics",
)
_CONFIG_TYPE = {"BYTES": "TYPE_STRING"}


def routes(parser: ItemParser) -> Blueprint:
    """Return the endpoints."""
    blueprint = Blueprint("inference_metadata", __name__)

    @blueprint.get("/v2", strict_slashes=False)
    def server() -> Response:
        return json_response(
            {"name": "embark", "version": __version__, "extensions": list(_EXTENSIONS)}
        )

    @blueprint.post("/v2/repository/index")
    def index() -> Response:
        catalogue = parser.catalogue
        return json_response(
            [
                {
                    "name": name,
                    "version": str(model.facts.version),
                    "state": "READY",
                    "reason": "",
                }
                for name in catalogue
                for model in catalogue.generations(name)
            ]
        )

    @blueprint.get("/v2/models/<name>")
    @blueprint.get("/v2/models/<name>/versions/<version>")
    def model(name: str, version: str | None = None) -> Response:
        catalogue = parser.catalogue
        served = catalogue.generations(name)
        return json_response(
            {
                "name": name,
                "versions": [str(one.facts.version) for one in served],
                "platform": "embark",
                **_tensors(find_version(catalogue, name, version)),
            }
        )

    @blueprint.get("/v2/models/<name>/ready")
    @blueprint.get("/v2/models/<name>/versions/<version>/ready")
    def ready(name: str, version: str | None = None) -> Response:
        find_version(parser.catalogue, name, version)
        return json_response({"name": name, "ready": True})

    @blueprint.get("/v2/models/<name>/config")
    @blueprint.get("/v2/models/<name>/versions/<version>/config")
    def config(name: str, version: str | None = None) -> Response:
        return json_response(
            _config(find_version(parser.catalogue, name, version), parser.max_items)
        )

    return blueprint


def _tensors(model: Model) -> dict[str, Any]:
    """Return the input that a client must send, and every output, as model metadata has them.

    The other inputs stand in for this one, so a client that fills what is listed must not see them.
    """
    inputs = [{"name": CONTENT_TENSOR[model.facts.modality], "datatype": "BYTES", "shape": [-1, 1]}]
    outputs = [
        {"name": name, "datatype": datatype, "shape": [-1, _width(model, name)]}
        for name, datatype in OUTPUTS.items()
    ]
    return {"inputs": inputs, "outputs": outputs}


def _config(model: Model, max_items: int) -> dict[str, Any]:
    """Return a model's configuration as Triton's clients read it."""
    described = _tensors(model)
    return {
        "name": model.name,
        "platform": "",
        "backend": "embark",
        "version_policy": {"all": {}},
        "max_batch_size": max_items,
        "input": [_configured(one) for one in described["inputs"]],
        "output": [_configured(one) for one in described["outputs"]],
        "response_cache": {"enable": True},
    }


def _configured(tensor: dict[str, Any]) -> dict[str, Any]:
    datatype = tensor["datatype"]
    return {
        "name": tensor["name"],
        "data_type": _CONFIG_TYPE.get(datatype, f"TYPE_{datatype}"),
        "dims": tensor["shape"][1:],
    }


def _width(model: Model, output: str) -> int:
    return model.facts.dimension if output == EMBEDDING else 1
