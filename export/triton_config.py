"""Triton's `config.pbtxt` of a model's front and of its encoder.

The committed files in model_repository/ are what this module writes; a test compares them.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from embark.inputs import Modality
from export.encoders.base import Encoder

INPUT_TENSOR = {Modality.TEXT: "TEXT", Modality.IMAGE: "IMAGE"}

_TYPES = {"int64": "TYPE_INT64", "uint8": "TYPE_UINT8"}
_QUEUE_SECONDS = 30
_QUEUE_SIZE = 1024
_WARMUP_LENGTH = 16
_DELAY_MICROSECONDS = {Modality.TEXT: 1000, Modality.IMAGE: 2000}
_QUEUE_POLICY = {
    "timeoutAction": "REJECT",
    "defaultTimeoutMicroseconds": str(_QUEUE_SECONDS * 1_000_000),
    "allowTimeoutOverride": True,
    "maxQueueSize": _QUEUE_SIZE,
}
# A new generation is loaded beside the old one.
_VERSIONS = {"latest": {"numVersions": 2}}


def front_config(encoder: Encoder) -> str:
    """Return the configuration of `<name>`: two priorities, bounded queues with timeouts."""
    return _text(
        {
            "name": encoder.name,
            "backend": "python",
            "maxBatchSize": encoder.max_batch_size,
            "versionPolicy": _VERSIONS,
            "input": [
                {
                    "name": INPUT_TENSOR[encoder.modality],
                    "dataType": "TYPE_STRING",
                    "dims": ["1"],
                }
            ],
            "output": [
                _embedding(encoder),
                {"name": "GENERATION", "dataType": "TYPE_STRING", "dims": ["1"]},
            ],
            "instanceGroup": [{"kind": "KIND_CPU", "count": 2}],
            "dynamicBatching": {
                "maxQueueDelayMicroseconds": str(_DELAY_MICROSECONDS[encoder.modality]),
                "priorityLevels": "2",
                "defaultPriorityLevel": "2",
                "defaultQueuePolicy": _QUEUE_POLICY,
                "priorityQueuePolicy": {"1": _QUEUE_POLICY, "2": _QUEUE_POLICY},
            },
        }
    )


def encoder_config(encoder: Encoder, backend: str = "python") -> str:
    """Return the configuration of `<name>_encoder` for a backend: `python` or `onnxruntime`."""
    config: dict[str, Any] = {
        "name": f"{encoder.name}_encoder",
        "backend": backend,
        "maxBatchSize": encoder.max_batch_size,
        "versionPolicy": _VERSIONS,
        "input": [
            {
                "name": tensor.name,
                "dataType": _TYPES[tensor.dtype],
                "dims": [str(length) for length in tensor.shape],
            }
            for tensor in encoder.inputs
        ],
        "output": [_embedding(encoder)],
        # Triton's own backend uses a GPU where there is one.
        "instanceGroup": [{"kind": "KIND_CPU" if backend == "python" else "KIND_AUTO", "count": 1}],
        "dynamicBatching": {"defaultQueuePolicy": _QUEUE_POLICY},
        "modelWarmup": [_warmup(encoder, size) for size in (1, encoder.max_batch_size // 2)],
    }
    if backend == "python":
        config["parameters"] = {"intra_op_threads": {"stringValue": "0"}}
    return _text(config)


def _embedding(encoder: Encoder) -> dict[str, Any]:
    return {"name": "EMBEDDING", "dataType": "TYPE_FP32", "dims": [str(encoder.dimension)]}


def _warmup(encoder: Encoder, batch_size: int) -> dict[str, Any]:
    return {
        "name": f"batch_{batch_size}",
        "batchSize": batch_size,
        "inputs": {
            tensor.name: {
                "dataType": _TYPES[tensor.dtype],
                "dims": [str(_WARMUP_LENGTH if length < 0 else length) for length in tensor.shape],
                "zeroData": True,
            }
            for tensor in encoder.inputs
        },
    }


def _text(config: dict[str, Any]) -> str:
    return str(text_format.MessageToString(json_format.ParseDict(config, ModelConfig())))
