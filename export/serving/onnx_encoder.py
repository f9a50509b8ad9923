"""The encoder: `model.onnx` in ONNX Runtime, all requests of a batch in one run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

Run = Callable[[dict[str, Any]], Any]


class OnnxEncoder:
    """A Triton Python model with the tensors of the graph it runs."""

    def initialize(self, args: dict[str, str]) -> None:
        """Called by Triton when the version is loaded."""
        config = json.loads(args["model_config"])
        threads = int(config["parameters"]["intra_op_threads"]["string_value"])
        graph = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._run = self.open(graph, threads)

    def open(self, graph: Path, threads: int) -> Run:
        """Return what computes the vectors of a feed, arrays by name; 0 threads is one a core."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Spinning threads would take the cores from the fronts.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        return lambda feed: session.run(["EMBEDDING"], feed)[0]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request of a batch."""
        tensors = [[_tensor(request, name) for request in requests] for name in self._inputs]
        try:
            feed = {
                name: np.concatenate(parts)
                for name, parts in zip(self._inputs, tensors, strict=True)
            }
            vectors = self._run(feed)
        except Exception as error:
            failure = triton.TritonError(f"inference failed: {error}", triton.TritonError.INTERNAL)
            return [triton.InferenceResponse(error=failure) for _ in requests]
        ends = np.cumsum([len(part) for part in tensors[0]])
        return [
            triton.InferenceResponse([triton.Tensor("EMBEDDING", part)])
            for part in np.split(vectors, ends[:-1])
        ]


def _tensor(request: Any, name: str) -> Any:
    return triton.get_input_tensor_by_name(request, name).as_numpy()
