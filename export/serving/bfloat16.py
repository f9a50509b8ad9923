"""A float32 graph in bfloat16 arithmetic on a CPU that has its instructions, by OpenVINO.

bfloat16 keeps float32's range, so no calibration is needed, and each vector is computed apart from
its batch. Not for GPUs, where float16 is at home (`export.precision`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Run = Callable[[dict[str, npt.NDArray[Any]]], npt.NDArray[np.float32]]

OUTPUT = "EMBEDDING"
NO_BFLOAT16 = (
    "this CPU has no bfloat16 instructions (avx512_bf16 or amx_bf16), without which nothing is"
    " gained; choose fp32 or int8"
)


def has_bfloat16() -> bool:
    """Return whether this CPU computes in bfloat16 (AVX512-BF16 or AMX)."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def open_bfloat16(graph: Path, threads: int = 0) -> Run:
    """Return a function that runs a graph: tensors by name to EMBEDDING, float32 (n, d).

    Args:
        graph: a float32 ONNX file.
        threads: at most; 0 is one for each core.

    Raises:
        RuntimeError: the CPU has no bfloat16 instructions.
    """
    if not has_bfloat16():
        raise RuntimeError(NO_BFLOAT16)
    import openvino

    compiled = openvino.Core().compile_model(
        str(graph),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "bf16",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        },
    )
    request = compiled.create_infer_request()
    names = {port.get_any_name() for port in compiled.inputs}

    def run(tensors: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        found = request.infer({name: tensors[name] for name in names})
        # The request's own memory, which the next run overwrites.
        return np.array(found[OUTPUT], np.float32)

    return run
