"""Our tensors around a ready ONNX graph: PIXELS or token ids in, EMBEDDING out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.preprocessing import ImagePreprocessing

if TYPE_CHECKING:
    from export.sources.onnx_file import OnnxFile, Port

# Everything of the given graph is renamed, so that nothing of it has a name of ours.
_PREFIX = "given/"
_SMALLEST = 1e-9
_SMALLEST_NORM = 1e-12
_TYPES: dict[str, int] = {"uint8": TensorProto.UINT8, "int64": TensorProto.INT64}


class _Chain:
    """Nodes and constants that are put before and behind the graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: Sequence[str], output: str, **fields: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **fields))
        return output

    def constant(self, value: Any, dtype: type[np.generic] = np.float32) -> str:
        name = f"embark/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name


def wrapped(encoder: OnnxFile) -> onnx.ModelProto:
    """Return the file's model with the encoder's tensors as inputs, and EMBEDDING as output."""
    model = onnx.compose.add_prefix(encoder.model, _PREFIX)
    graph, chain = model.graph, _Chain()
    if encoder.is_text:
        _texts(encoder, chain)
    else:
        _image(encoder, chain)
    before = len(chain.nodes)
    chain.add("Cast", [_vectors(encoder, chain)], "EMBEDDING", to=TensorProto.FLOAT)
    given = list(graph.node)
    weights = {one.name for one in graph.initializer}
    kept = [one for one in graph.input if one.name in weights]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*chain.nodes[:before], *given, *chain.nodes[before:]])
    graph.initializer.extend(chain.constants)
    graph.input.extend([*map(_input, encoder.inputs), *kept])
    graph.output.append(_value("EMBEDDING", TensorProto.FLOAT, (encoder.dimension,)))
    onnx.checker.check_model(model)
    return model


def _texts(encoder: OnnxFile, chain: _Chain) -> None:
    ports = {port.name: port for port in encoder.ports}
    for name, ours in (("input_ids", "INPUT_IDS"), ("attention_mask", "ATTENTION_MASK")):
        if name in ports:
            _cast(chain, ours, ports[name])
    if "token_type_ids" in ports:
        zeros = chain.add("Sub", ["INPUT_IDS", "INPUT_IDS"], "embark/token_types")
        _cast(chain, zeros, ports["token_type_ids"])


def _image(encoder: OnnxFile, chain: _Chain) -> None:
    (port,), preprocessing = encoder.ports, encoder.preprocessing
    assert isinstance(preprocessing, ImagePreprocessing)
    images = "PIXELS"
    if preprocessing.mean is not None:
        scaled = chain.add("Cast", [images], "embark/float", to=TensorProto.FLOAT)
        unit = chain.add("Div", [scaled, chain.constant(255)], "embark/unit")
        mean = chain.constant(preprocessing.mean)
        centred = chain.add("Sub", [unit, mean], "embark/centred")
        images = chain.add("Div", [centred, chain.constant(preprocessing.std)], "embark/normalised")
    if not encoder.channels_last:
        images = chain.add("Transpose", [images], "embark/planes", perm=[0, 3, 1, 2])
    _cast(chain, images, port)


def _vectors(encoder: OnnxFile, chain: _Chain) -> str:
    found = chain.add("Cast", [_PREFIX + encoder.output.name], "embark/found", to=TensorProto.FLOAT)
    pooling = encoder.options.pooling if encoder.is_text else None
    if pooling == "mean":
        found = _mean(chain, found)
    elif pooling == "cls":
        first = chain.constant(0, np.int64)
        found = chain.add("Gather", [found, first], "embark/first", axis=1)
    elif len(encoder.output.shape) == 4:
        found = chain.add("Flatten", [found], "embark/flat", axis=1)
    return _normalised(chain, found) if encoder.options.normalise else found


def _mean(chain: _Chain, tokens: str) -> str:
    axis = chain.constant([1], np.int64)
    last = chain.constant([2], np.int64)
    mask = chain.add("Cast", ["ATTENTION_MASK"], "embark/mask", to=TensorProto.FLOAT)
    weight = chain.add("Unsqueeze", [mask, last], "embark/weight")
    weighted = chain.add("Mul", [tokens, weight], "embark/weighted")
    total = chain.add("ReduceSum", [weighted, axis], "embark/total", keepdims=0)
    count = chain.add("ReduceSum", [weight, axis], "embark/count", keepdims=0)
    count = chain.add("Max", [count, chain.constant(_SMALLEST)], "embark/counted")
    return chain.add("Div", [total, count], "embark/mean")


def _normalised(chain: _Chain, vectors: str) -> str:
    squares = chain.add("Mul", [vectors, vectors], "embark/squares")
    axis = chain.constant([1], np.int64)
    total = chain.add("ReduceSum", [squares, axis], "embark/square", keepdims=1)
    norm = chain.add("Sqrt", [total], "embark/root")
    norm = chain.add("Max", [norm, chain.constant(_SMALLEST_NORM)], "embark/norm")
    return chain.add("Div", [vectors, norm], "embark/unit_vector")


def _cast(chain: _Chain, name: str, port: Port) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
    chain.add("Cast", [name], _PREFIX + port.name, to=kind)


def _input(tensor: Any) -> onnx.ValueInfoProto:
    return _value(tensor.name, _TYPES[tensor.dtype], tensor.shape)


def _value(name: str, kind: int, shape: Sequence[int]) -> onnx.ValueInfoProto:
    lengths = [f"length_{axis}" if length < 0 else length for axis, length in enumerate(shape)]
    return helper.make_tensor_value_info(name, kind, ["batch", *lengths])
