"""The real TensorRT: loaded everywhere; builds an engine with a GPU, refuses clearly without one.

`python -m export.tensorrt.fetch` brings the libraries.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from embark.errors import EmbArkError
from export.encoders import find
from export.tensorrt import Engine, Shape, build, shapes_of
from export.tensorrt.device import Device
from export.tensorrt.library import VARIABLE, load
from export.verification import Thresholds, verify

WIDTH, LARGEST = 16, 8
SHAPES = [Shape("X", (1, WIDTH), (4, WIDTH), (LARGEST, WIDTH))]
WEIGHT = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32)


def _graph(path: Path, operator: str) -> Path:
    graph = helper.make_graph(
        [helper.make_node(operator, ["X", "weight"], ["EMBEDDING"])],
        "small",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info("EMBEDDING", TensorProto.FLOAT, ["n", WIDTH])],
        [numpy_helper.from_array(WEIGHT, "weight")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def _build(graph: Path, folder: Path) -> Path:
    return build(
        graph, folder / "engines", SHAPES, cache=folder / "timings", identity="abc", report=print
    )


def test_the_library_is_the_one_that_was_installed() -> None:
    library = load()
    assert library.version == metadata.version("tensorrt-cu13-bindings")
    assert load() is library


def test_an_engine_is_built_and_right_or_refused_and_nothing_is_left(tmp_path: Path) -> None:
    graph = _graph(tmp_path / "small.onnx", "MatMul")
    if not torch.cuda.is_available():
        with pytest.raises(EmbArkError) as caught:
            _build(graph, tmp_path)
        assert caught.value.code == "tensorrt_unavailable"
        assert load().version in caught.value.message
        assert "CUDA initialization failure" in caught.value.message
        assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]
        return
    plan = _build(graph, tmp_path)
    rows = np.random.default_rng(1).normal(size=(12, WIDTH)).astype(np.float32)
    found = verify(
        "small",
        Engine(plan).run,
        rows @ WEIGHT,
        lambda positions: {"X": rows[list(positions)]},
        Thresholds(min_cosine=0.99999, min_neighbours=1),
        max_batch_size=LARGEST,
    )
    assert found.batch_sizes == (1, 2, 3, LARGEST)
    written = plan.stat().st_mtime_ns
    assert _build(graph, tmp_path) == plan and plan.stat().st_mtime_ns == written
    assert [path.suffix for path in (tmp_path / "engines").iterdir()] == [".plan"]
    assert [path.suffix for path in (tmp_path / "timings").iterdir()] == [".cache"]
    with pytest.raises(EmbArkError, match="cannot have shape") as caught:
        Engine(plan).run({"X": np.zeros((LARGEST + 1, WIDTH), np.float32)})
    assert caught.value.code == "engine_failed"


def test_a_graph_that_cannot_be_an_engine_leaves_nothing(tmp_path: Path) -> None:
    graph = _graph(tmp_path / "strange.onnx", "NoSuchOperator")
    with pytest.raises(EmbArkError) as caught:
        _build(graph, tmp_path)
    wanted = "engine_failed" if torch.cuda.is_available() else "tensorrt_unavailable"
    assert caught.value.code == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["strange.onnx"]


def test_a_file_that_is_no_engine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.plan"
    path.write_bytes(b"not an engine")
    with pytest.raises(EmbArkError) as caught:
        Engine(path)
    wanted = "engine_failed" if torch.cuda.is_available() else "tensorrt_unavailable"
    assert caught.value.code == wanted


def test_a_folder_without_the_libraries_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(EmbArkError, match=r"no libnvinfer\.so in .*export\.tensorrt\.fetch"):
        load()


def test_bindings_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", None)
    with pytest.raises(EmbArkError, match="not installed") as caught:
        load()
    assert caught.value.code == "tensorrt_unavailable"


def test_files_are_named_for_what_they_fit() -> None:
    device = Device("NVIDIA H100 80GB HBM3", "9.0")
    library = load()
    assert device.engine_file("abc", library) == f"abc-trt{library.version}-sm90.plan"
    timings = f"timing-trt{library.version}-sm90-nvidia-h100-80gb-hbm3.cache"
    assert device.timing_file(library) == timings


def test_profiles_hold_every_batch_that_is_served() -> None:
    for name in ("minilm", "inception_v3"):
        encoder = find(name)
        for shape, tensor in zip(shapes_of(encoder), encoder.inputs, strict=True):
            assert shape.name == tensor.name
            assert shape.least[0] == 1 and shape.most[0] == encoder.max_batch_size
            sizes = zip(shape.least, shape.usual, shape.most, strict=True)
            assert all(least <= usual <= most for least, usual, most in sizes)
    (ids, _) = shapes_of(find("minilm"))
    assert ids.least == (1, 1) and ids.most == (64, 256)
