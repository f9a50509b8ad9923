"""The encoder in bfloat16: `model.onnx` in OpenVINO, on CPUs that have the instructions."""

from __future__ import annotations

from pathlib import Path

from .bfloat16 import open_bfloat16
from .onnx_encoder import OnnxEncoder, Run


class Bfloat16Encoder(OnnxEncoder):
    """See `OnnxEncoder`."""

    def open(self, graph: Path, threads: int) -> Run:
        """Return what computes the vectors of a feed."""
        return open_bfloat16(graph, threads)
