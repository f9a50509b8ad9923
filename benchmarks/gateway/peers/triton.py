"""Triton with its response cache, over gRPC and HTTP: by batch, or by input.

Its cache knows whole requests. A batch is found again only if the very same one comes again, in the
same order; to find single inputs, each must be a request of its own. The shipped models serve, with
the cache on; a batch is cut where they allow no more.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format, text_format
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from benchmarks.gateway.clients import Call
from benchmarks.gateway.peers.base import http_call, post, require
from benchmarks.gateway.place import Place, Stopped, answers
from benchmarks.gateway.workload import REPOSITORY, Batch
from embark.inputs import Modality
from embark.triton import TritonPorts, forget_shared_memory, triton_command
from export.triton_config import INPUT_TENSOR

RETINA = Path(".venv-retina")
LITELLM_MODEL = "litellm_text"

_CACHE_BYTES = 512 * 2**20
_AT_ONCE = 8
_PROGRAMS = Path(__file__).parents[1] / "programs"


@dataclass(frozen=True)
class Triton:
    """A Triton that serves.

    Attributes:
        http: port of its HTTP endpoint.
        grpc: host:port of the other.
    """

    http: int
    grpc: str


class TritonGrpc:
    """Asked over gRPC with NVIDIA's client.

    Args:
        triton: who is asked.
        by_input: each input in a request of its own; all requests are in flight at once.
    """

    modalities = frozenset(Modality)

    def __init__(self, triton: Triton, *, by_input: bool) -> None:
        self.name = f"Triton's cache, gRPC, {_form(by_input)}"
        self._triton = triton
        self._by_input = by_input

    def call(self, batches: Sequence[Batch]) -> Call:
        model = batches[0].model
        target = {
            "url": self._triton.grpc,
            "model": model.name,
            "tensor": INPUT_TENSOR[model.facts.modality],
        }
        return Call("triton_client", target, [_parts(one, self._by_input) for one in batches])

    def check(self, batch: Batch) -> None:
        require(len(self.embed(batch)), batch)

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Return a batch's vectors, computed by the encoder or found in its cache.

        Raises:
            Stopped: it does not answer with vectors.
        """
        client = InferenceServerClient(self._triton.grpc)
        found = []
        try:
            for part in _parts(batch, by_input=False):
                tensor = InferInput(INPUT_TENSOR[batch.modality], [len(part), 1], "BYTES")
                tensor.set_data_from_numpy(np.array(part, dtype=np.object_).reshape(-1, 1))
                found.append(client.infer(batch.model.name, [tensor]).as_numpy("EMBEDDING"))
        except InferenceServerException as error:
            raise Stopped(f"it answers {error}") from error
        finally:
            client.close()
        return np.concatenate(found)


class TritonHttp:
    """Asked over HTTP with binary tensors, as NVIDIA's client does.

    Args:
        triton: who is asked.
        by_input: each input in a request of its own; eight connections have one in flight each.
    """

    modalities = frozenset(Modality)

    def __init__(self, triton: Triton, *, by_input: bool) -> None:
        self.name = f"Triton's cache, HTTP, {_form(by_input)}"
        self._triton = triton
        self._by_input = by_input

    def call(self, batches: Sequence[Batch]) -> Call:
        requests = [[_infer(part, one) for part in _parts(one, self._by_input)] for one in batches]
        return http_call(self._triton.http, requests, at_once=_AT_ONCE)

    def check(self, batch: Batch) -> None:
        TritonGrpc(self._triton, by_input=False).check(batch)


def start_triton(place: Place, *, cached: bool = True) -> Triton:
    """Start Triton, with its response cache or as shipped, and wait until its models are loaded.

    Raises:
        Stopped: it does not start.
    """
    models = place.folder / "triton" / "models"
    for name in ("minilm", "inception_v3"):
        _link(f"{name}_encoder", models)
        _link(name, models, cached=cached)
    if cached:
        _add_litellm_model(models)
    ports = TritonPorts.free()
    region = f"embark_bench_{os.getpid()}_"
    command = triton_command(RETINA, models, place.folder / "triton" / "work", ports, region)
    caches = Path(command.argv[0]).parents[1] / "caches"
    cache = [f"--cache-directory={caches}", f"--cache-config=local,size={_CACHE_BYTES}"]
    place.serve(
        "triton",
        [*command.argv, *(cache if cached else [])],
        answers(f"http://127.0.0.1:{ports.http}/v2/health/ready"),
        command.environment,
        clean=lambda pid: forget_shared_memory(region),
    )
    return Triton(ports.http, f"127.0.0.1:{ports.grpc}")


def _form(by_input: bool) -> str:
    return "by input" if by_input else "by batch"


def _parts(batch: Batch, by_input: bool) -> list[list[bytes]]:
    size = 1 if by_input else batch.model.facts.max_batch_size
    payloads = batch.payloads
    return [payloads[start : start + size] for start in range(0, len(payloads), size)]


def _infer(payloads: Sequence[bytes], batch: Batch) -> bytes:
    content = b"".join(struct.pack("<I", len(one)) + one for one in payloads)
    tensor = {
        "name": INPUT_TENSOR[batch.modality],
        "shape": [len(payloads), 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(content)},
    }
    wanted = {"name": "EMBEDDING", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [wanted]}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return post(f"/v2/models/{batch.model.name}/infer", head + content, headers)


def _link(name: str, models: Path, *, cached: bool = False) -> None:
    """Put a shipped model into a repository of its own, with the response cache on if wanted."""
    source, target = REPOSITORY / name, models / name
    target.mkdir(parents=True)
    config = text_format.Parse((source / "config.pbtxt").read_text("utf-8"), ModelConfig())
    if cached:
        config.response_cache.enable = True
    (target / "config.pbtxt").write_text(text_format.MessageToString(config), "utf-8")
    for version in source.iterdir():
        if version.name.isdecimal():
            (target / version.name).symlink_to(version.absolute(), target_is_directory=True)


def _add_litellm_model(models: Path) -> None:
    """Add the model that LiteLLM can ask: a flat tensor of its own name, no batch dimension."""
    folder = models / LITELLM_MODEL
    (folder / "1").mkdir(parents=True)
    config = {
        "name": LITELLM_MODEL,
        "backend": "python",
        "input": [{"name": "input_text", "data_type": "TYPE_STRING", "dims": [-1]}],
        "output": [{"name": "embedding", "data_type": "TYPE_FP32", "dims": [-1, 384]}],
        "instance_group": [{"count": 2, "kind": "KIND_CPU"}],
    }
    parsed = json_format.ParseDict(config, ModelConfig())
    (folder / "config.pbtxt").write_text(text_format.MessageToString(parsed), "utf-8")
    (folder / "1" / "model.py").write_bytes((_PROGRAMS / "litellm_model.py").read_bytes())
