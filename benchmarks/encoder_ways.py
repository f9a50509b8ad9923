"""The ways of running an encoder that `benchmarks.encoders` compares."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
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
) -> dict[str, Run]:
    """Return what this machine can run, by name."""
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
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        makers["ONNX Runtime CUDA fp32"] = lambda: _onnx(exact, "CUDAExecutionProvider")
    if torch.cuda.is_available():
        makers |= _engines(subject, exact, report)
    made = {}
    for name, make in makers.items():
        if name == BASELINE or name not in skipped:
            report(f"{encoder.name}: {name}")
            made[name] = make()
    return made


def _engines(
    subject: Subject, exact: Path, report: Callable[[str], None]
) -> dict[str, Callable[[], Run]]:
    encoder, folder = subject.encoder, subject.folder

    def engine(graph: Path) -> Run:
        shapes, cache = shapes_of(encoder), folder / "timings"
        plan = build(graph, folder, shapes, cache=cache, identity=graph.stem, report=report)
        return Engine(plan).run

    def half() -> Run:
        encoder.write_graph(halved(subject.module), folder / "fp16.onnx")
        return engine(folder / "fp16.onnx")

    def int8() -> Run:
        target = folder / "int8-engine.onnx"
        write_int8(exact, target, "static", subject.calibration, for_engine=True)
        return engine(target)

    return {
        "TensorRT fp32": lambda: engine(exact),
        "TensorRT fp16": half,
        "TensorRT int8": int8,
    }


def _onnx(graph: Path, provider: str) -> Run:
    session = onnxruntime.InferenceSession(str(graph), providers=[provider])
    names = [one.name for one in session.get_inputs()]

    def run(tensors: Tensors) -> npt.NDArray[np.float32]:
        feed = {name: tensors[name] for name in names}
        return np.asarray(session.run(["EMBEDDING"], feed)[0])

    return run


def _module(encoder: Encoder, module: Callable[..., torch.Tensor]) -> Run:
    def run(tensors: Tensors) -> npt.NDArray[np.float32]:
        arguments = [torch.from_numpy(tensors[tensor.name]) for tensor in encoder.inputs]
        with torch.inference_mode():
            return module(*arguments).numpy()

    return run


def _compiled(encoder: Encoder, module: torch.nn.Module) -> Run:
    run = _module(encoder, torch.compile(module, dynamic=True))

    def quiet(tensors: Tensors) -> npt.NDArray[np.float32]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run(tensors)

    return quiet
