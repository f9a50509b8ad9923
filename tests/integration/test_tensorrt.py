"""The real TensorRT: loaded everywhere; builds an engine with a GPU, refuses clearly without one.

`python -m export.tensorrt.fetch` brings the libraries.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from embark.errors import EmbArkError
from export import Encoder, ImagePreprocessing, Modality
from export.__main__ import main
from export.encoders import find
from export.engines import current_capability, has_engine
from export.repository import add_engine, without_engine
from export.tensorrt import Engine, Shape, build, shapes_of
from export.tensorrt.device import Device
from export.tensorrt.library import VARIABLE, load
from export.triton_config import engine_file
from export.verification import Thresholds, verify
from tests.support.models import facts, write_model

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


class Blobs(Encoder):
    """A convolutional network too small to be near in int8."""

    modality = Modality.IMAGE
    dimension = 32
    preprocessing = ImagePreprocessing(32, 32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    thresholds = MappingProxyType({"int8": Thresholds(min_cosine=0.9)})

    def module(self) -> torch.nn.Module:
        """Return the same network each time."""
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 5, stride=2),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(),
        )


def _export(models: Path, *options: str) -> int:
    return main([f"{__name__}:Blobs", "--name", "blobs", "--output", str(models), *options])


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_command_does_all_that_needs_no_gpu_and_then_says_what_is_missing(
    precision: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    load()  # its libraries may be named relative to the present folder
    monkeypatch.chdir(tmp_path)
    status = _export(tmp_path / "models", "--backend", "tensorrt", "--precision", precision)
    # Beside it, libraries may complain of a stream that an earlier test has closed.
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith(("blobs: ", "export: "))]
    calibrated = ["calibrating"] * (precision == "int8")
    steps = ["loading weights", "compiling to ONNX", *calibrated, "verifying against PyTorch"]
    assert said[: len(steps)] == [f"blobs: {step}" for step in steps]
    if torch.cuda.is_available():
        assert status == 0
        assert has_engine(tmp_path / "models" / "blobs_encoder" / "1", current_capability())
        return
    assert status == 1
    (refusal,) = said[len(steps) :]
    assert f"TensorRT {load().version} cannot use a GPU on this machine" in refusal
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_is_published_gets_an_engine_or_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load()
    monkeypatch.chdir(tmp_path)
    models, version = tmp_path / "models", tmp_path / "models" / "blobs_encoder" / "1"
    assert _export(models) == 0
    before = _files(tmp_path)
    capsys.readouterr()
    assert _export(models, "--backend", "tensorrt", "--dry-run", "--json") == 0
    (plan,) = json.loads(capsys.readouterr().out)
    assert (plan["status"], plan["version"]) == ("would_build_engine", 1)
    assert plan["generation"] is not None
    status = _export(models, "--backend", "tensorrt")
    if torch.cuda.is_available():
        assert status == 0
        assert has_engine(version, current_capability())
    else:
        assert status == 1
        assert "version 1 of blobs: TensorRT" in capsys.readouterr().err
        assert _files(tmp_path) == before
        add_engine(version, version / "model.onnx", engine_file("9.0"))
        assert has_engine(version, "9.0") and not has_engine(version, "12.0")
    # Without a GPU it cannot be known which one is meant.
    assert _export(models, "--backend", "tensorrt") == 0
    assert "up to date" in capsys.readouterr().out
    config = (models / "blobs_encoder" / "config.pbtxt").read_text()
    assert "tensorrt_plan" in config and "model-sm" in config
    assert list(models.glob("blobs/*/embark.json")) == [models / "blobs" / "1" / "embark.json"]
    assert not list(models.rglob(".new-*"))


def test_every_version_needs_an_engine_for_this_gpu(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_model(tmp_path, facts("words", version=number))
        (tmp_path / "words_encoder" / str(number)).mkdir(parents=True)
    (tmp_path / "words_encoder" / "2" / engine_file("9.0")).touch()
    (tmp_path / "words_encoder" / "3" / engine_file("8.6")).touch()
    for capability, lacking in (("9.0", [1, 3]), ("8.6", [1, 2]), (None, [1])):
        found = without_engine(tmp_path, "words", capability)
        assert [one.version for one in found] == lacking


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
