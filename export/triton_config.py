"""Triton's `config.pbtxt` of a model's front, and of its encoder for each backend.

The committed files in model_repository/ are what this module writes; a test compares them. Not for
choosing the numbers: `export.tuning` measures them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders.base import Encoder
from export.tuning.record import Candidate, Tuning

BACKENDS = ("python", "onnxruntime", "tensorrt")
INPUT_TENSOR = {Modality.TEXT: "TEXT", Modality.IMAGE: "IMAGE"}

_TYPES = {
    "int64": "TYPE_INT64",
    "int32": "TYPE_INT32",
    "uint8": "TYPE_UINT8",
    "float32": "TYPE_FP32",
}
_KINDS = {"python": "KIND_CPU", "onnxruntime": "KIND_AUTO", "tensorrt": "KIND_GPU"}
# Both run the graph on the cores that were measured; an engine runs elsewhere.
_THREADS = {"python": "intra_op_threads", "onnxruntime": "intra_op_thread_count"}
_UNTUNED = {
    Modality.TEXT: Candidate(
        front_instances=2, front_delay_us=1000, encoder_instances=1, intra_op_threads=0
    ),
    Modality.IMAGE: Candidate(
        front_instances=2, front_delay_us=2000, encoder_instances=1, intra_op_threads=0
    ),
}
_QUEUE_SECONDS = 30
_QUEUE_SIZE = 1024
_WARMUP_LENGTH = 16
_QUEUE_POLICY = {
    "timeoutAction": "REJECT",
    "defaultTimeoutMicroseconds": str(_QUEUE_SECONDS * 1_000_000),
    "allowTimeoutOverride": True,
    "maxQueueSize": _QUEUE_SIZE,
}
# Generations are served beside each other: the version folders that exist say which.
_VERSIONS: dict[str, Any] = {"all": {}}


def front_config(encoder: Encoder, tuning: Tuning | None = None) -> str:
    """Return the configuration of `<name>`: two priorities, bounded queues with timeouts.

    It has no warm-up: the encoder, which it would call, may be loaded after it.
    """
    config = _message(
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
            "instanceGroup": [{"kind": "KIND_CPU"}],
            "dynamicBatching": {
                "priorityLevels": "2",
                "defaultPriorityLevel": "2",
                "defaultQueuePolicy": _QUEUE_POLICY,
                "priorityQueuePolicy": {"1": _QUEUE_POLICY, "2": _QUEUE_POLICY},
            },
        }
    )
    _tune_front(config, _candidate(encoder, tuning))
    return _text(config)


def encoder_config(
    encoder: Encoder,
    backend: str = "python",
    tuning: Tuning | None = None,
    capabilities: Sequence[str] = (),
) -> str:
    """Return the configuration of `<name>_encoder`.

    Where shapes vary, the encoder does not batch: the front has joined what is alike, no more
    requests than fronts can be in flight, and Triton's batcher, which would compare the shapes,
    misses a wake-up now and then and holds a request for 500 ms (seen with Triton 2.51).

    Args:
        encoder: what it describes.
        backend: one of `BACKENDS`.
        tuning: what was measured; it concerns the backends that run on the CPU.
        capabilities: CUDA compute capabilities, such as `9.0`, that have a TensorRT engine; see
            `engine_file`.
    """
    described: dict[str, Any] = {
        "name": f"{encoder.name}_encoder",
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
        "instanceGroup": [{"kind": _KINDS[backend], "count": 1}],
        "modelWarmup": [_warmup(encoder, size) for size in _warmup_sizes(encoder)],
    }
    if _is_fixed(encoder):
        described["dynamicBatching"] = {"defaultQueuePolicy": _QUEUE_POLICY}
    if backend == "tensorrt":
        described |= _tensorrt(encoder, capabilities)
    else:
        described["backend"] = backend
    config = _message(described)
    _tune_encoder(config, _candidate(encoder, tuning))
    return _text(config)


def engine_file(capability: str) -> str:
    """Return the name of an engine in a version folder, for a compute capability such as `9.0`.

    One configuration serves every generation, so the name has no digest in it.
    """
    return f"model-sm{capability.replace('.', '')}.plan"


def retuned(repository: Path, name: str, candidate: Candidate) -> dict[Path, str]:
    """Return every configuration of a model as it would be with a candidate's numbers.

    Returns:
        Text by path; the front's and the encoder's, those for other backends included.
    """
    front, encoder = repository / name, repository / f"{name}_encoder"
    texts = {}
    for path in (
        front / "config.pbtxt",
        encoder / "config.pbtxt",
        *sorted(encoder.glob("configs/*.pbtxt")),
    ):
        config = _read(path)
        (_tune_front if path.parent == front else _tune_encoder)(config, candidate)
        texts[path] = _text(config)
    return texts


def present(repository: Path, name: str) -> Candidate:
    """Return the numbers in a model's configurations.

    Raises:
        ConfigurationError: they cannot be read, or the encoder's backend has none to tune.
    """
    front = _read(repository / name / "config.pbtxt")
    encoder = _read(repository / f"{name}_encoder" / "config.pbtxt")
    if encoder.backend not in _THREADS:
        raise ConfigurationError(
            f"{name}_encoder runs in {encoder.backend or encoder.platform}; only"
            f" {' and '.join(_THREADS)} are tuned: export it with --backend python"
        )
    threads = encoder.parameters[_THREADS[encoder.backend]].string_value
    return Candidate(
        front_instances=front.instance_group[0].count,
        front_delay_us=front.dynamic_batching.max_queue_delay_microseconds,
        encoder_instances=encoder.instance_group[0].count,
        intra_op_threads=int(threads or 0),
    )


def _candidate(encoder: Encoder, tuning: Tuning | None) -> Candidate:
    return _UNTUNED[encoder.modality] if tuning is None else tuning.candidate


def _tune_front(config: Any, candidate: Candidate) -> None:
    config.instance_group[0].count = candidate.front_instances
    config.dynamic_batching.max_queue_delay_microseconds = candidate.front_delay_us


def _tune_encoder(config: Any, candidate: Candidate) -> None:
    if config.backend in _THREADS:
        config.instance_group[0].count = candidate.encoder_instances
        threads = config.parameters[_THREADS[config.backend]]
        threads.string_value = str(candidate.intra_op_threads)


def _embedding(encoder: Encoder) -> dict[str, Any]:
    return {"name": "EMBEDDING", "dataType": "TYPE_FP32", "dims": [str(encoder.dimension)]}


def _tensorrt(encoder: Encoder, capabilities: Sequence[str]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "platform": "tensorrt_plan",
        "ccModelFilenames": {one: engine_file(one) for one in sorted(capabilities)},
    }
    if _is_fixed(encoder):
        # A CUDA graph is of one shape.
        described["optimization"] = {
            "cuda": {"graphs": True, "graphSpec": _graph_specs(encoder)},
        }
    return described


def _is_fixed(encoder: Encoder) -> bool:
    """Return whether nothing but the batch varies in the shapes of the inputs."""
    return all(length > 0 for tensor in encoder.inputs for length in tensor.shape)


def _graph_specs(encoder: Encoder) -> list[dict[str, Any]]:
    shapes = {
        tensor.name: {"dim": [str(length) for length in tensor.shape]} for tensor in encoder.inputs
    }
    sizes = [2**power for power in range(encoder.max_batch_size.bit_length())]
    return [{"batchSize": size, "input": shapes} for size in sizes]


def _warmup_sizes(encoder: Encoder) -> list[int]:
    return sorted({1, max(1, encoder.max_batch_size // 2)})


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


def _read(path: Path) -> Any:
    try:
        return text_format.Parse(path.read_text("utf-8"), ModelConfig())
    except (OSError, text_format.ParseError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}; export the model again") from error


def _message(config: dict[str, Any]) -> Any:
    return json_format.ParseDict(config, ModelConfig())


def _text(config: Any) -> str:
    return str(text_format.MessageToString(config))
