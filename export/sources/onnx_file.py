"""A ready ONNX file, served with our tensors around it and compared with itself as it was given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders.base import Encoder, Weights
from export.preprocessing import ImagePreprocessing, Preprocessing, TextPreprocessing
from export.sources.options import Options

if TYPE_CHECKING:
    import onnx
    import torch

_OLDEST_OPSET = 13
_POOLINGS = ("mean", "cls", "none")
_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"
_NUMBERS: dict[int, type[np.generic]] = {
    1: np.float32,
    2: np.uint8,
    6: np.int32,
    7: np.int64,
    10: np.float16,
}


@dataclass(frozen=True)
class Port:
    """An input or output of the file: name, numpy type, and lengths (None where variable)."""

    name: str
    dtype: type[np.generic]
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        lengths = ", ".join("?" if length is None else str(length) for length in self.shape)
        return f"{self.name} {self.dtype.__name__} ({lengths})"


class OnnxFile(Encoder):
    """See the module.

    Args:
        path: the file; weights beside it, which large models have, are found.
        options: `modality` is needed; for texts also `tokenizer`, `max_tokens` and `pooling`, for
            images `mean` and `std`, and `size` where the graph leaves it open.

    Raises:
        ConfigurationError: the graph does not fit, or an option is missing.
    """

    precisions = ("fp32", "int8")

    def __init__(self, path: Path, options: Options) -> None:
        self.path = path
        self.options = options
        if options.modality is None:
            raise ConfigurationError(f"{path} does not say what it embeds; say --modality")
        self.modality = options.modality
        said = (options.tokenizer, options.max_tokens, options.pooling)
        if self.is_text and (None in said or options.pooling not in _POOLINGS):
            raise ConfigurationError(
                f"{path} embeds texts; say --tokenizer FILE, --max-tokens N and --pooling"
                f" {' or '.join(_POOLINGS)}"
            )
        self.ports = _ports(self.model, self.model.graph.input)
        _check_batch(path, self.ports)
        self.output = self._output()
        self.dimension = self._dimension()
        self._preprocessing = self._text() if self.is_text else self._image()

    @property
    def is_text(self) -> bool:
        """Whether it embeds texts."""
        return self.modality == Modality.TEXT

    @property
    def preprocessing(self) -> Preprocessing:
        """By the options."""
        return self._preprocessing

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The file, weights included."""
        import onnx

        try:
            model = onnx.load(str(self.path))
            onnx.checker.check_model(model)
        except Exception as error:
            raise ConfigurationError(f"{self.path} is not a valid ONNX file: {error}") from error
        opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
        if opset < _OLDEST_OPSET:
            raise ConfigurationError(
                f"{self.path} is of opset {opset}; convert it to {_OLDEST_OPSET} or later with"
                " onnx.version_converter"
            )
        return model

    def weights(self, source: str) -> Weights:
        """Return the file itself: it is what vectors are computed with again."""
        if source != "auto":
            raise ConfigurationError(f"{self.path} holds its weights; leave out --weights")
        return Weights(dict(self.module().state_dict()), f"file {self.path.name}")

    def module(self) -> torch.nn.Module:
        """Return a module that runs the file as it is, by ONNX Runtime."""
        from export.sources.onnx_module import OnnxModule

        return OnnxModule(self)

    def write_graph(self, module: torch.nn.Module, path: Path) -> None:
        """Write the file's graph with our tensors around it."""
        import onnx

        from export.sources.onnx_wrapping import wrapped

        onnx.save(wrapped(self), str(path))

    def architecture(self) -> Iterator[str | bytes]:
        """Return what is put behind the graph, which itself is among the weights."""
        yield self.options.architecture
        yield self.output.name

    def recipe(self) -> Iterator[str | bytes]:
        """Return the file with its weights, and the options."""
        yield repr(self.options)
        yield self.model.SerializeToString(deterministic=True)

    def _output(self) -> Port:
        outputs = _ports(self.model, self.model.graph.output)
        wanted = self.options.graph_output
        listed = "; ".join(map(str, outputs))
        if wanted is not None:
            found = [one for one in outputs if one.name == wanted]
            if not found:
                raise ConfigurationError(f"{self.path} has no output {wanted!r}; it has: {listed}")
            return found[0]
        if len(outputs) != 1:
            raise ConfigurationError(
                f"{self.path} has {len(outputs)} outputs ({listed}); say which by --graph-output"
            )
        return outputs[0]

    def _dimension(self) -> int:
        rank = len(self.output.shape)
        pooled = self.is_text and self.options.pooling not in (None, "none")
        ranks = (3,) if pooled else (2,) if self.is_text else (2, 4)
        if rank not in ranks:
            asked = f"with --pooling {self.options.pooling}" if pooled else "without pooling"
            raise ConfigurationError(
                f"{self.path}: output {self.output} has {rank} axes; {asked} it must have"
                f" {' or '.join(map(str, ranks))}"
            )
        length = self.output.shape[1 if rank == 4 else -1]
        if length is None or (rank == 4 and self.output.shape[2:] != (1, 1)):
            raise ConfigurationError(
                f"{self.path}: output {self.output} does not end in one vector of a fixed length"
            )
        return length

    def _text(self) -> TextPreprocessing:
        options = self.options
        assert options.tokenizer is not None
        assert options.max_tokens is not None
        unknown = [one for one in self.ports if one.name not in (_IDS, _MASK, _TYPES)]
        if unknown or _IDS not in [one.name for one in self.ports]:
            raise ConfigurationError(
                f"{self.path} takes {'; '.join(map(str, self.ports))}; a text encoder takes {_IDS},"
                f" and may take {_MASK} and {_TYPES}"
            )
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(options.tokenizer))
        padding = tokenizer.padding
        return TextPreprocessing(
            options.tokenizer,
            options.max_tokens,
            pad_id=padding["pad_id"] if padding else 0,
            prefix=options.prefix,
        )

    def _image(self) -> ImagePreprocessing:
        options = self.options
        if len(self.ports) != 1 or len(self.ports[0].shape) != 4:
            raise ConfigurationError(
                f"{self.path} takes {'; '.join(map(str, self.ports))}; an image encoder takes one"
                " tensor of 4 axes"
            )
        size = self._size()
        if self.ports[0].dtype != np.uint8 and options.mean is None:
            raise ConfigurationError(
                f"{self.path} takes {self.ports[0]}; say how pixels become such numbers by --mean"
                " and --std, on a scale of 0 to 1 (--mean 0,0,0 --std 1,1,1 for that scale itself)"
            )
        return ImagePreprocessing(
            None if options.stretch else options.resize or size,
            size,
            options.interpolation,
            mean=options.mean,
            std=options.std,
        )

    @property
    def channels_last(self) -> bool:
        """Whether an image encoder takes (n, h, w, 3) rather than (n, 3, h, w)."""
        return self.ports[0].shape[3] == 3 and self.ports[0].shape[1] != 3

    def _size(self) -> int:
        shape = self.ports[0].shape
        sides = shape[1:3] if self.channels_last else shape[2:4]
        size = self.options.size or sides[0]
        if size is None:
            raise ConfigurationError(f"{self.path} takes images of any size; say --size N")
        if any(side not in (None, size) for side in sides):
            raise ConfigurationError(
                f"{self.path} takes {self.ports[0]}, which is not {size} x {size}"
            )
        return size


def _ports(model: onnx.ModelProto, values: Any) -> list[Port]:
    weights = {one.name for one in model.graph.initializer}
    ports = []
    for value in values:
        tensor = value.type.tensor_type
        if value.name in weights:
            continue
        if tensor.elem_type not in _NUMBERS:
            raise ConfigurationError(f"tensor {value.name} has a type that is not supported")
        shape = [one.dim_value if one.HasField("dim_value") else None for one in tensor.shape.dim]
        ports.append(Port(value.name, _NUMBERS[tensor.elem_type], tuple(shape)))
    return ports


def _check_batch(path: Path, ports: list[Port]) -> None:
    for port in ports:
        if not port.shape or port.shape[0] is not None:
            raise ConfigurationError(
                f"{path}: input {port} has a fixed batch size; export it again with a variable"
                " first axis (dynamic_axes or dynamic_shapes)"
            )
