"""TensorRT: engines from ONNX graphs, and running one. Needs an NVIDIA GPU, but for `library`.

Not for serving: Triton runs the engines. Not for precision: a graph is strongly typed, so that its
own types are the engine's (`export.precision`).
"""

from __future__ import annotations

from export.tensorrt.building import build
from export.tensorrt.engine import Engine
from export.tensorrt.shapes import Shape, shapes_of

__all__ = ["Engine", "Shape", "build", "shapes_of"]
