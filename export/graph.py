"""From a PyTorch module to an ONNX graph, and the proof that both give the same numbers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embark.errors import EmbArkError
from export.encoders.base import Encoder, Weights

if TYPE_CHECKING:
    import torch

MIN_COSINE = 0.9999
_OPSET = 18
_BATCH_SIZES = (1, 2, 3, 8)


@dataclass(frozen=True)
class Verification:
    """How far the compiled encoder's vectors are from PyTorch's, at worst."""

    inputs: int
    min_cosine: float
    max_difference: float


def load_module(encoder: Encoder, weights: Weights) -> torch.nn.Module:
    """Return the encoder's module with its weights, in evaluation mode.

    Raises:
        RuntimeError: names or shapes differ from the skeleton's.
    """
    module = encoder.skeleton()
    module.load_state_dict(weights.state)
    return module.eval()


def write_graph(encoder: Encoder, module: torch.nn.Module, path: Path) -> None:
    """Write `module` as one ONNX file with variable batch size and the tensors' names."""
    import torch

    tensors = encoder.prepare(encoder.samples()[1:3], padded=True)
    example = tuple(torch.from_numpy(tensors[tensor.name]) for tensor in encoder.inputs)
    shapes = tuple(_variable(tensor.shape) for tensor in encoder.inputs)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=_OPSET,
            input_names=[tensor.name for tensor in encoder.inputs],
            output_names=["EMBEDDING"],
            dynamic_shapes=shapes,
            verbose=False,
        )
        assert program is not None
        program.save(path)


def verify(encoder: Encoder, module: torch.nn.Module, graph: Path) -> Verification:
    """Compare ONNX Runtime on `graph` with PyTorch, in batches against one by one.

    Raises:
        EmbArkError: a vector's cosine is below `MIN_COSINE`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    samples = encoder.samples()
    expected = np.concatenate([embed_one(encoder, module, sample) for sample in samples])
    cosine, difference = 1.0, 0.0
    for size in _BATCH_SIZES:
        for start in range(0, len(samples), size):
            batch = slice(start, start + size)
            tensors = encoder.prepare(samples[batch], padded=True)
            (found,) = session.run(["EMBEDDING"], tensors)
            cosine = min(cosine, float(cosines(found, expected[batch]).min()))
            difference = max(difference, float(np.abs(found - expected[batch]).max()))
    if cosine < MIN_COSINE:
        raise EmbArkError(
            f"{encoder.name}: the compiled encoder's cosine to PyTorch is {cosine:.6f}, below"
            f" {MIN_COSINE}; nothing was published",
            code="verification_failed",
        )
    return Verification(len(samples), cosine, difference)


def embed_one(encoder: Encoder, module: torch.nn.Module, payload: bytes) -> npt.NDArray[np.float32]:
    """Return PyTorch's vector of one input, unpadded, float32 of shape (1, dimension)."""
    import torch

    tensors = encoder.prepare([payload], padded=False)
    with torch.no_grad():
        vector = module(*(torch.from_numpy(tensors[tensor.name]) for tensor in encoder.inputs))
    return np.asarray(vector.numpy(), np.float32)


def cosines(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the cosine of each pair of rows."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return np.asarray((found * expected).sum(axis=1) / norms, np.float64)


def _variable(shape: tuple[int, ...]) -> dict[int, Any]:
    import torch

    axes = [0, *(axis for axis, length in enumerate(shape, start=1) if length < 0)]
    return {axis: torch.export.Dim.DYNAMIC for axis in axes}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's notes about its own workings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
