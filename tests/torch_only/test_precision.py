"""float16 modules and int8 graphs, made and run for real on small networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from embark.errors import ConfigurationError, EmbArkError
from export.precision import halved, optimise, write_int8
from export.serving.bfloat16 import has_bfloat16, open_bfloat16
from export.verification import Thresholds, cosines, verify

WIDTH, CHANNELS, SIDE = 64, 8, 12

Array = npt.NDArray[Any]


class Tower(nn.Module):
    """Token numbers whose mean of squares is outside float16, and small ones that it would lose."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, rows: Tensor) -> Tensor:
        """Return vectors of length 1."""
        return functional.normalize(300 * self.linear(rows).mean(1), dim=1)


@pytest.fixture(scope="module")
def rows() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(8, 5, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def pixels() -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(24, 3, SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(2)
    # Channels of very different sizes need scales of their own.
    sizes = np.geomspace(0.01, 1, CHANNELS).reshape(-1, 1, 1, 1)
    weight = (rng.normal(size=(CHANNELS, 3, 3, 3)) * sizes).astype(np.float32)
    bias = (0.1 * sizes.ravel()).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["X", "weight", "bias"], ["made"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["made"], ["positive"]),
            helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["EMBEDDING"]),
        ],
        "convolutional",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("EMBEDDING", TensorProto.FLOAT, ["n", CHANNELS])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    return _save(graph, tmp_path_factory.mktemp("graphs") / "convolutional.onnx")


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "weight"], ["EMBEDDING"])],
        "linear",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info("EMBEDDING", TensorProto.FLOAT, ["n", WIDTH])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return _save(graph, tmp_path_factory.mktemp("graphs") / "linear.onnx")


def _save(graph: onnx.GraphProto, path: Path) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _run(graph: Path, array: Array) -> Array:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    return np.asarray(session.run(["EMBEDDING"], {name: array})[0])


def test_half_computes_in_float16_and_reduces_in_float32(rows: Array) -> None:
    module = Tower().eval()
    half = halved(module)
    with torch.no_grad():
        expected = module(torch.from_numpy(rows)).numpy()
        found = half(torch.from_numpy(rows))
    assert found.dtype == torch.float32
    assert cosines(found.numpy(), expected).min() > 0.99999
    assert {one.dtype for one in half.parameters()} == {torch.float16}
    assert {one.dtype for one in module.parameters()} == {torch.float32}


def test_the_graph_of_half_is_strongly_typed(rows: Array, tmp_path: Path) -> None:
    module, path = Tower().eval(), tmp_path / "half.onnx"
    program = torch.onnx.export(
        halved(module),
        (torch.from_numpy(rows),),
        dynamo=True,
        opset_version=18,
        input_names=["X"],
        output_names=["EMBEDDING"],
        dynamic_shapes={"rows": {0: torch.export.Dim.DYNAMIC}},
        verbose=False,
    )
    assert program is not None
    program.save(path)
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    types = {one.name: one.type.tensor_type.elem_type for one in model.graph.value_info}
    types |= {one.name: one.data_type for one in model.graph.initializer}
    used = {node.op_type: types.get(node.input[0]) for node in model.graph.node}
    assert used["MatMul"] == TensorProto.FLOAT16
    assert used["ReduceMean"] == used["ReduceL2"] == TensorProto.FLOAT
    (output,) = model.graph.output
    assert output.type.tensor_type.elem_type == TensorProto.FLOAT
    with torch.no_grad():
        expected = module(torch.from_numpy(rows[:3])).numpy()
    assert cosines(_run(path, rows[:3]), expected).min() > 0.99999


@pytest.mark.parametrize("for_engine", [False, True])
def test_static_int8_has_a_scale_for_each_channel(
    for_engine: bool, convolutional: Path, pixels: Array, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    calibration = [{"X": one[None]} for one in pixels[8:]]
    write_int8(convolutional, path, "static", calibration, for_engine=for_engine)
    model = onnx.load(path)
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    kernels = [array for array in constants.values() if array.shape == (CHANNELS, 3, 3, 3)]
    assert [one.dtype for one in kernels] == [np.int8]
    scales = [constants[n.input[1]].shape for n in model.graph.node if "Dequantize" in n.op_type]
    assert (CHANNELS,) in scales
    expected = _run(convolutional, pixels[:8])
    found = verify(
        "small",
        lambda tensors: _run(path, tensors["X"]),
        expected,
        lambda positions: {"X": pixels[list(positions)]},
        Thresholds(min_cosine=0.999),
    )
    assert found.max_difference > 0


def test_int8_for_engines_is_symmetric_with_exact_biases(
    convolutional: Path, pixels: Array, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    calibration = [{"X": one[None]} for one in pixels[8:]]
    write_int8(convolutional, path, "dynamic", calibration, for_engine=True)
    model = onnx.load(path)
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    quantised = [node for node in model.graph.node if node.op_type.endswith("quantizeLinear")]
    quantised += [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert quantised
    for node in quantised:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
    (convolution,) = (node for node in model.graph.node if node.op_type == "Conv")
    assert constants[convolution.input[2]].dtype == np.float32


def test_a_dynamic_vector_does_not_depend_on_its_batch(linear: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    write_int8(linear, path, "dynamic", [])
    rng = np.random.default_rng(4)
    calm = rng.normal(size=(4, WIDTH)).astype(np.float32)
    alone = _run(path, calm)
    # With one scale for the whole batch, these would leave nothing of the others.
    company = np.concatenate([calm, 1000 * rng.normal(size=(4, WIDTH)).astype(np.float32)])
    assert cosines(_run(path, company)[:4], alone).min() > 0.999999
    expected = _run(linear, calm)
    assert 0.999 < cosines(alone, expected).min() < 0.9999999


def test_the_rewritten_graph_computes_the_same(linear: Path, rows: Array, tmp_path: Path) -> None:
    path = tmp_path / "fast.onnx"
    optimise(linear, path)
    assert cosines(_run(path, rows[:, 0]), _run(linear, rows[:, 0])).min() > 0.999999


def test_an_unknown_method_and_no_calibration_are_refused(linear: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'best'; it can be static or dynamic"):
        write_int8(linear, tmp_path / "no.onnx", "best", [])
    with pytest.raises(ConfigurationError, match="give calibration"):
        write_int8(linear, tmp_path / "no.onnx", "static", [])
    assert not list(tmp_path.iterdir())


def test_a_graph_without_products_cannot_be_dynamic(convolutional: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbArkError, match="choose another precision") as caught:
        write_int8(convolutional, tmp_path / "no.onnx", "dynamic", [])
    assert caught.value.code == "not_quantisable"
    assert not list(tmp_path.iterdir())


def test_bfloat16_is_near_and_apart_from_its_batch_or_refused(linear: Path) -> None:
    if not has_bfloat16():
        with pytest.raises(RuntimeError, match="no bfloat16 instructions"):
            open_bfloat16(linear)
        return
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(8, WIDTH)).astype(np.float32)
    rows[4:] *= 1000
    run = open_bfloat16(linear)
    found = verify(
        "small",
        run,
        _run(linear, rows),
        lambda positions: {"X": rows[list(positions)]},
        Thresholds(min_cosine=0.9999),
    )
    assert 0.9999 < found.min_cosine < 0.9999999
    assert found.min_repeat_cosine > 0.9999999
