"""The ways of running an encoder that `benchmarks.encoders` compares."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from export.encoders.base import Encoder
from export.precision import halved, optimise, write_int8
from export.serving.bfloat16 import has_bfloat16, open_bfloat16
from export.tensorrt import Engine, build, shapes_of

Tensors = dict[str, npt.NDArray[Any]]
Run = Callable[[Tensors], npt.NDArray[np.float32]]

BASELINE = "ONNX Runtime fp32"

_CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        encoder: what it states.
        module: with its weights.
        folder: where graphs and engines are made.
        calibration: tensors of batches to find int8 ranges with.
    """

    encoder: Encoder
    module: torch.nn.Module
    folder: Path
    calibration: Sequence[Tensors]


def ways_of(
    subject: Subject, skipped: Container[str], report: Callable[[str], None]
) -> dict[str, Callable[[], Run]]:
    """Return what makes each way that this machine has, by name."""
    encoder, folder = subject.encoder, subject.folder
    exact = folder / "fp32.onnx"
    encoder.write_graph(subject.module, exact)

    def optimised() -> Run:
        optimise(exact, folder / "optimised.onnx")
        return _onnx(folder / "optimised.onnx", "CPUExecutionProvider")

    def int8() -> Run:
        write_int8(exact, folder / "int8.onnx", encoder.int8_method, subject.calibration)
        return _onnx(folder / "int8.onnx", "CPUExecutionProvider")

    makers: dict[str, Callable[[], Run]] = {
        BASELINE: lambda: _onnx(exact, "CPUExecutionProvider"),
        "PyTorch": lambda: _module(encoder, subject.module),
        "ONNX Runtime fp32, rewritten": optimised,
        f"ONNX Runtime int8 {encoder.int8_method}": int8,
    }
    if shutil.which("g++"):
        makers["torch.compile"] = lambda: _compiled(encoder, subject.module)
    if has_bfloat16():
        makers["OpenVINO bf16"] = lambda: open_bfloat16(exact)
    if torch.cuda.is_available():
        makers |= _on_gpu(subject, exact, report)
    return {name: make for name, make in makers.items() if name == BASELINE or name not in skipped}


def _on_gpu(
    subject: Subject, exact: Path, report: Callable[[str], None]
) -> dict[str, Callable[[], Run]]:
    """Return what runs on the GPU; inputs and vectors are in the CPU's memory each time."""
    encoder, folder = subject.encoder, subject.folder
    half, int8 = folder / "fp16.onnx", folder / "int8-engine.onnx"
    halved_module = halved(subject.module)
    encoder.write_graph(halved_module, half)
    modules = {"fp32": copy.deepcopy(subject.module).cuda(), "fp16": halved_module.cuda()}

    def engine(graph: Path) -> Run:
        shapes, cache = shapes_of(encoder), folder / "timings"
        plan = build(graph, folder, shapes, cache=cache, identity=graph.stem, report=report)
        return Engine(plan).run

    def engine_in_int8() -> Run:
        write_int8(exact, int8, "static", subject.calibration, for_engine=True)
        return engine(int8)

    made: dict[str, Callable[[], Run]] = {"TensorRT int8": engine_in_int8}
    for precision, graph in (("fp32", exact), ("fp16", half)):
        module = modules[precision]
        made[f"PyTorch CUDA {precision}"] = partial(_module, encoder, module, "cuda")
        made[f"torch.compile CUDA {precision}"] = partial(_compiled, encoder, module, "cuda")
        made[f"TensorRT {precision}"] = partial(engine, graph)
        if _CUDA in onnxruntime.get_available_providers():
            made[f"ONNX Runtime CUDA {precision}"] = partial(_onnx, graph, _CUDA)
    return made


def _onnx(graph: Path, provider: str) -> Run:
    session = onnxruntime.InferenceSession(str(graph), providers=[provider])
    names = [one.name for one in session.get_inputs()]

    def run(tensors: Tensors) -> npt.NDArray[np.float32]:
        feed = {name: tensors[name] for name in names}
        return np.asarray(session.run(["EMBEDDING"], feed)[0])

    return run


def _module(encoder: Encoder, module: Callable[..., torch.Tensor], device: str = "cpu") -> Run:
    def run(tensors: Tensors) -> npt.NDArray[np.float32]:
        arguments = [torch.from_numpy(tensors[one.name]).to(device) for one in encoder.inputs]
        with torch.inference_mode():
            return module(*arguments).cpu().numpy()

    return run


def _compiled(encoder: Encoder, module: torch.nn.Module, device: str = "cpu") -> Run:
    run = _module(encoder, torch.compile(module, dynamic=True), device)

    def quiet(tensors: Tensors) -> npt.NDArray[np.float32]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run(tensors)

    return quiet
