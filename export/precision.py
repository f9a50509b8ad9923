"""The arithmetic of a compiled encoder: float16 modules, int8 graphs, graphs rewritten for speed.

Not for deciding whether the numbers are still good enough: `export.verification`.
"""

from __future__ import annotations

import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from embark.errors import ConfigurationError, EmbArkError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
INT8_METHODS = ("static", "dynamic")

Tensors = dict[str, npt.NDArray[Any]]

# One scale for each block of a row: outliers coarsen 32 numbers, not a batch.
_BLOCK = 32
_INT8_ACTIVATIONS = 4
_CPU_OPERATORS = ("Add", "AveragePool", "Concat", "Conv", "Gemm", "GlobalAveragePool", "MaxPool")
_ENGINE_OPERATORS = ("Conv", "Gemm", "MatMul")
_LOGGERS = ("", "onnxruntime", "onnxscript", "fusion_base", "onnx_model")


def halved(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of `module` with weights and arithmetic in float16.

    Inputs keep their types, and the result is float32. Means, sums, norms and softmax are computed
    in float32, and LayerNormalization by its ONNX form. Its graph is strongly typed: what runs it
    has no choice of precision.
    """
    from export.half import Half

    return Half(copy.deepcopy(module)).eval()


def write_int8(
    graph: Path,
    target: Path,
    method: str,
    calibration: Sequence[Tensors],
    *,
    for_engine: bool = False,
) -> None:
    """Write a graph with int8 arithmetic.

    With `static`, the range of every activation is found beforehand: for convolutional networks.
    With `dynamic`, it is found while running, for each block of 32 numbers of a row, so that a
    vector does not depend on its batch: for transformers, whose activations have outliers. There
    it covers products with weights; an LSTM stays as it is. Weights have a scale for each channel
    or block.

    Args:
        graph: a float32 ONNX file.
        target: the file to write.
        method: one of `INT8_METHODS`.
        calibration: tensors of batches to find ranges with; `dynamic` needs none.
        for_engine: write what TensorRT takes, which is `static` and symmetric, with biases left
            float32. ONNX Runtime runs it as well, but slowly.

    Raises:
        ConfigurationError: the method is unknown, or has no inputs to calibrate with.
        EmbArkError: `not_quantisable`; the graph has nothing that the method covers.
    """
    if method not in INT8_METHODS:
        raise ConfigurationError(
            f"the int8 method is {method!r}; it can be {' or '.join(INT8_METHODS)}"
        )
    with _quiet():
        if method == "static" or for_engine:
            if not calibration:
                raise ConfigurationError(
                    "static int8 needs inputs to calibrate with; give calibration()"
                )
            _write_static(graph, target, calibration, for_engine=for_engine)
        else:
            _write_dynamic(graph, target)
    _check_quantised(graph, target, method)


def optimise(graph: Path, target: Path) -> None:
    """Write a graph with constants folded and the parts of transformers fused.

    It is for ONNX Runtime: fused operators are its own, TensorRT has other ways.

    Args:
        graph: an ONNX file.
        target: the file to write.
    """
    from onnxruntime.transformers import optimizer

    with _quiet():
        # 0 heads of size 0: read from the graph.
        model = optimizer.optimize_model(
            str(graph), model_type="bert", num_heads=0, hidden_size=0, opt_level=1
        )
        model.save_model_to_file(str(target))


def _write_static(
    graph: Path, target: Path, calibration: Sequence[Tensors], *, for_engine: bool
) -> None:
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="embark-int8-") as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            _reader(calibration),
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QInt8 if for_engine else QuantType.QUInt8,
            op_types_to_quantize=list(_ENGINE_OPERATORS if for_engine else _CPU_OPERATORS),
            extra_options={
                "ActivationSymmetric": for_engine,
                "WeightSymmetric": True,
                "QuantizeBias": not for_engine,
            },
        )


def _write_dynamic(graph: Path, target: Path) -> None:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with tempfile.TemporaryDirectory(prefix="embark-int8-") as folder:
        fused = Path(folder) / "fused.onnx"
        optimise(graph, fused)
        quantizer = MatMulNBitsQuantizer(
            onnx.load(fused),
            bits=8,
            block_size=_BLOCK,
            is_symmetric=True,
            accuracy_level=_INT8_ACTIVATIONS,
        )
        quantizer.process()
        quantizer.model.save_model_to_file(str(target))


def _check_quantised(graph: Path, target: Path, method: str) -> None:
    import onnx

    operators = {node.op_type for node in onnx.load(target, load_external_data=False).graph.node}
    if not operators & {"MatMulNBits", "QuantizeLinear"}:
        target.unlink()
        raise EmbArkError(
            f"the graph has no operator that int8 ({method}) covers; choose another precision, or"
            " another int8_method",
            code="not_quantisable",
        )


def _reader(calibration: Sequence[Tensors]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives the batches one by one."""

        def __init__(self) -> None:
            self._batches = iter(calibration)

        def get_next(self) -> Tensors | None:
            return next(self._batches, None)

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the notes of ONNX Runtime's tools; some are logged, some printed."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
